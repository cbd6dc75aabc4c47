"""Titles that a policy is told of after training: by hand, kept, and the same on the way back."""

import numpy as np
import pandas as pd
import pytest
import torch

import recsys_posttrain as rp
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.new_items import with_own_vectors

PLAN = rp.Training(steps=6, batch_size=8, learning_rate=0.01)
BACKBONE = rp.SASRec(dim=8, blocks=1, feed_forward=16, max_length=10)
NEW = ["n0", "n1"]


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    ids = [*(f"i{item}" for item in range(12)), *NEW]
    return pd.DataFrame({"item_id": ids, "vector": list(3 + rng.standard_normal((14, 4)))})


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{item}", float(rng.integers(1, 6)), 1000 * user + place)
        for user in range(20)
        for place, item in enumerate(rng.permutation(12)[:8])
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])


@pytest.fixture(scope="module")
def data(frame):
    return rp.load(frame, split=rp.LeaveOneOut(minimum_item_ratings=1))


@pytest.fixture(scope="module")
def tomorrow(frame):
    """A log in which the new titles are chosen, and read as history."""
    rows = [("u3", "n1", 5.0, 10**6), ("u3", "i0", 5.0, 10**6 + 1), ("u4", "n0", 1.0, 10**6)]
    more = pd.DataFrame(rows, columns=frame.columns)
    split = rp.LeaveOneOut(minimum_item_ratings=1)
    return rp.load(pd.concat([frame, more]), split=split, repeats="allowed")


@pytest.fixture(scope="module")
def policy(data, vectors, tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors") / "known.parquet"
    vectors[:12].to_parquet(path)
    return rp.pretrain(data, rp.ItemFeatures(str(path), BACKBONE), PLAN)[0]


def test_a_new_title_has_the_token_and_what_its_features_say(data, policy, vectors, capsys):
    grown = rp.add_items(policy, vectors)
    assert "2 new items ('n0', 'n1'); 12 that the policy knows stay" in capsys.readouterr().err
    assert grown.item_ids.tolist() == [*data.corpus.item_ids, *NEW]
    assert torch.equal(grown.item_embedding_VD[:12], policy.item_embedding_VD)
    # By hand, in float64, from the frame.
    given = np.stack(vectors["vector"].to_list())
    known, table = given[:12], policy.backbone.item_embedding
    features = (given[12:] - known.mean(axis=0)) / known.std(axis=0) / 4**0.5
    want = table.token.detach().numpy() + features @ table.projection.weight.detach().numpy().T
    np.testing.assert_allclose(grown.item_embedding_VD[12:].detach(), want, atol=1e-6)
    assert len(policy.item_embedding_VD) == 12  # which is not the copy


def test_with_events_it_has_a_vector_of_its_own_which_starts_there(policy, vectors):
    """By hand: the number of n1 is 14. Items that know themselves already stay as they are."""
    grown = rp.add_items(policy, vectors)
    before = grown.item_embedding_VD.detach().clone()
    found, count = with_own_vectors(grown, torch.tensor([3, 14, 1, 14]))
    assert count == 1
    table = found.backbone.item_embedding
    given = np.stack(vectors["vector"].to_list())
    features = (given[13] - given[:12].mean(axis=0)) / given[:12].std(axis=0) / 4**0.5
    want = table.token.detach().numpy() + features @ table.projection.weight.detach().numpy().T
    np.testing.assert_allclose(table.own.weight[14].detach(), want, atol=1e-6)
    torch.testing.assert_close(found.item_embedding_VD.detach(), before)
    assert table.is_new.nonzero().flatten().tolist() == [13]
    found.item_embedding_VD.sum().backward()
    gradient_VD = table.own.weight.grad[1:]
    assert (gradient_VD[13] == 1).all(), "its events teach it"
    assert (gradient_VD[12] == 0).all(), "n0 has none"
    assert torch.equal(grown.item_embedding_VD, before), "the policy itself stays as it is"
    assert with_own_vectors(found, torch.tensor([14]))[1] == 0
    assert with_own_vectors(policy, torch.tensor([1, 2])) == (policy, 0)


def test_it_is_recommended_evaluated_and_kept(data, policy, frame, tomorrow, vectors, tmp_path):
    grown = rp.add_items(policy, vectors[12:])
    lists = rp.recommend(grown, frame, k=14)
    assert lists["item_id"].isin(NEW).groupby(lists["user_id"]).sum().eq(2).all()
    old = rp.recommend(policy, frame, k=12)
    left = lists[~lists["item_id"].isin(NEW)]
    assert left["item_id"].tolist() == old["item_id"].tolist()
    np.testing.assert_allclose(left["score"], old["score"], atol=1e-6)
    rows = rp.evaluate(grown, tomorrow, targets=tomorrow.validation).per_user
    assert (rows["item_id"] == "n1").sum() == 1
    assert (
        not rp.evaluate(policy, tomorrow, targets=tomorrow.validation)
        .per_user["item_id"]
        .isin(NEW)
        .any()
    )
    rp.save_policy(grown, tmp_path / "grown", data)
    saved = rp.load_policy(tmp_path / "grown")
    assert saved.popularity_V[12:].max() < saved.popularity_V[:12].min()
    pd.testing.assert_frame_equal(rp.recommend(saved, frame, k=14), lists)


def test_a_saved_policy_grows_too(data, policy, frame, vectors, tmp_path):
    rp.save_policy(policy, tmp_path / "policy", data)
    grown = rp.add_items(rp.load_policy(tmp_path / "policy"), vectors)
    assert isinstance(grown.policy, FrozenPolicy)
    assert not any(each.requires_grad for each in grown.policy.parameters())
    want = rp.recommend(rp.add_items(policy, vectors), frame, k=14)
    pd.testing.assert_frame_equal(rp.recommend(grown, frame, k=14), want)
    assert len(grown.popularity_V) == 14


def test_numbers_and_text_become_text_that_a_card_can_hold(data, policy, vectors, tmp_path):
    numbered = vectors[12:].assign(item_id=[901, 902])
    grown = rp.add_items(policy, numbered)
    rp.save_policy(grown, tmp_path / "policy", data)
    assert rp.load_policy(tmp_path / "policy").item_ids[-2:].tolist() == ["901", "902"]


def test_post_training_goes_on_with_a_reward_model_of_a_log_that_has_them(
    data, policy, tomorrow, vectors
):
    grown = rp.add_items(policy, vectors)
    with pytest.raises(rp.UserError, match=r"does not know 2 of the policy's 14 items \('n0', 'n1"):
        rp.posttrain(grown, data, rp.ASFT(), rp.train_reward(data)[0], PLAN)
    better, _ = rp.posttrain(grown, tomorrow, rp.ASFT(), rp.train_reward(tomorrow)[0], PLAN)
    assert better.item_ids.tolist() == grown.item_ids.tolist()
    assert not torch.equal(better.item_embedding_VD[:12], grown.item_embedding_VD[:12])
    assert torch.isfinite(better.item_embedding_VD).all()


def test_what_cannot_be_added_is_refused(data, policy, vectors):
    with pytest.raises(rp.UserError, match=r"the policy knows all 12 items already"):
        rp.add_items(policy, vectors[:12])
    narrow = vectors.assign(vector=[each[:3] for each in vectors["vector"]])
    with pytest.raises(rp.UserError, match=r"vectors of 3 numbers and the policy .* with 4"):
        rp.add_items(policy, narrow)
    plain, _ = rp.pretrain(data, BACKBONE, rp.Training(steps=1))
    with pytest.raises(rp.UserError, match=r"reads no item features.*run --item-features FILE"):
        rp.add_items(plain, vectors)
    with pytest.raises(rp.UserError, match=r"policy is of the type tuple .*rp.pretrain"):
        rp.add_items((policy, 3), vectors)
