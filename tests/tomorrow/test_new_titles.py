"""A new day with titles that the policy does not know, and a file of their features."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from continued import posttrain

import recsys_posttrain as rp
from recsys_posttrain.data import LeaveOneOut, RatingsFile, prepare
from recsys_posttrain.errors import UserError
from recsys_posttrain.models.checkpoint import load_policy, save_policy
from recsys_posttrain.recommendation import recommend
from recsys_posttrain.rewards.control import ConstantReward

FILM = "a film of tuesday"  # chosen twelve times on the second day (conftest.py)


@pytest.fixture(scope="module")
def titles(drift):
    """The policy of the first day with item features, and the file of the new title."""
    rng = np.random.default_rng(1)
    known = sorted(set(drift.monday["item_id"]))
    vectors = pd.DataFrame({"item_id": known, "vector": list(rng.standard_normal((len(known), 4)))})
    vectors.to_parquet(drift.folder / "vectors.parquet")
    new = pd.DataFrame(
        {"item_id": [FILM, "of no log"], "vector": list(rng.standard_normal((2, 4)))}
    )
    new.to_parquet(drift.folder / "new.parquet")
    dataset = RatingsFile(str(drift.folder / "monday.csv"))
    corpus = prepare(dataset)
    backbone = rp.SASRec(dim=16, blocks=1, feed_forward=32, max_length=12)
    config = rp.ItemFeatures(str(drift.folder / "vectors.parquet"), backbone)
    plan = rp.Training(steps=20, batch_size=32, learning_rate=5e-3)
    policy, _ = rp.pretrain(LeaveOneOut().split(corpus), config, plan)
    folder = drift.folder / "policy with features"
    folder.mkdir()
    save_policy(folder, policy, config, corpus, dataset)
    return folder, drift.folder / "new.parquet"


def test_their_events_are_trained_on_evaluated_and_recommended(drift, titles, tmp_path):
    policy, new = titles
    without, said = posttrain(drift, tmp_path, policy=policy)
    assert f"12 events on 1 item that the policy does not know ('{FILM}')" in said
    folder, said = posttrain(drift, tmp_path, "--items", str(new), policy=policy)
    assert f"2 new items ('{FILM}', 'of no log')" in said
    assert "does not know" not in said
    assert folder != without
    records = [json.loads((each / "run.json").read_text()) for each in (without, folder)]
    assert [each["new_events"] for each in records] == [len(drift.tuesday) - 12, len(drift.tuesday)]
    saved = load_policy(folder)
    assert saved.item_ids[-2:].tolist() == [FILM, "of no log"]
    lists = recommend(folder, ["user 1"], None, 10, None)
    assert len(lists) == 10
    had = drift.tuesday.loc[drift.tuesday["item_id"] == FILM, "user_id"].iloc[0]
    everything = recommend(folder, [had, "user 1"], None, 32, None)
    holders = everything.groupby("user_id")["item_id"].agg(set)
    assert FILM in holders["user 1"]
    assert FILM not in holders[had]
    again, said = posttrain(drift, tmp_path, "--items", str(new), policy=policy)
    assert again == folder
    assert said.rstrip().endswith("(reused)")


def test_in_python(drift, titles):
    policy, new = titles
    grown = rp.add_items(rp.load_policy(policy), new)
    plan = rp.Training(steps=6, batch_size=32)
    done = rp.posttrain_from(grown, drift.folder / "tuesday.csv", training=plan)
    assert done.record["new_events"] == len(drift.tuesday)
    assert FILM in done.data.data.corpus.item_ids[done.data.data.train.items_E.numpy() - 1]
    assert done.policy.item_ids[-2:].tolist() == [FILM, "of no log"]
    model = ConstantReward(3.0, 30, 12)
    model.item_ids = rp.load_policy(policy).item_ids
    with pytest.raises(UserError, match=r"does not know 2 of the policy's 32 items"):
        rp.posttrain_from(grown, drift.folder / "tuesday.csv", rp.ASFT(), model, plan)


def test_a_title_with_events_learns_from_them_and_one_without_does_not(drift, titles, tmp_path):
    policy, new = titles
    grown = rp.add_items(rp.load_policy(policy), new)
    plan = rp.Training(steps=6, batch_size=32, learning_rate=0.01)
    asked = grown, drift.folder / "tuesday.csv", rp.BC(), None, plan
    before_2D = grown.policy.item_embedding_VD[-2:].detach()
    learns, stays = (rp.posttrain_from(*asked, own_vectors=each) for each in (True, False))
    assert [each.record["titles_with_new_vectors"] for each in (learns, stays)] == [1, 0]
    assert torch.equal(stays.policy.item_embedding_VD[-2:], before_2D)
    moved_2 = (learns.policy.item_embedding_VD[-2:] - before_2D).abs().sum(dim=1)
    assert moved_2[0] > 0.01
    assert moved_2[1] < 1e-6, "nobody chose it"

    folder, _ = posttrain(drift, tmp_path, "--items", str(new), policy=policy)
    record = json.loads((folder / "run.json").read_text())
    assert (record["own_vectors"], record["titles_with_new_vectors"]) == (True, 1)
    saved = load_policy(folder)
    assert saved.policy.backbone.item_embedding.is_new.nonzero().flatten().tolist() == [32]
    words = ("--items", str(new), "--set", "own_vectors=false")
    other, _ = posttrain(drift, tmp_path, *words, policy=policy)
    assert other != folder
    assert torch.equal(load_policy(other).policy.item_embedding_VD[-2:], before_2D)


def test_what_cannot_know_them_is_refused(drift, titles, tmp_path):
    policy, new = titles
    with pytest.raises(UserError, match=r"the policy reads no item features"):
        posttrain(drift, tmp_path / "runs", "--items", str(new))
    for words in (["--method", "ASFT"], ["--reward", "model"], ["--judge", "model"]):
        with pytest.raises(UserError, match=r"new.parquet: no reward model knows these titles"):
            posttrain(drift, tmp_path / "runs", "--items", str(new), *words, policy=policy)
    with pytest.raises(UserError, match=r"missing.parquet"):
        posttrain(drift, tmp_path / "runs", "--items", "missing.parquet", policy=policy)
    assert not list(tmp_path.rglob("*"))
