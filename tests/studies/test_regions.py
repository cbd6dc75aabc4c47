"""Windows by region in a study, in what it saves, and in what reads that."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import recsys_posttrain as rp
from recsys_posttrain.evaluation.off_policy import WEIGHT
from recsys_posttrain.live.materialize import EventRules, materialize
from recsys_posttrain.live.materialized import Materialized
from recsys_posttrain.models.checkpoint import load_policy
from recsys_posttrain.models.ranker import SameForAll
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.studies.pipeline import Pipeline

STUDY = Path(__file__).parents[1] / "small_study.py"


def closed(item, region):
    """Of items 3n, 3n + 1, 3n + 2 the first is for US alone, the second for DE alone."""
    return (item % 3 == 0 and region != "US") or (item % 3 == 1 and region != "DE")


def setup_of(csv, **changes):
    study = load_study(STUDY, (), str(csv), seeds=1, data_root=None)
    setup = study.runs[0].setup
    return replace(setup, **changes)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, small_ratings_csv):
    """Half of the users move from US to DE in the middle of the log."""
    log = pd.read_csv(small_ratings_csv)
    late = log["timestamp"] >= log["timestamp"].median()
    log["region"] = np.where(late & (log["user_id"] % 2 == 0), "DE", "US")
    items = [int(item) for item in sorted(log["item_id"].unique()) if item % 3 < 2]
    rows = [(item, "DE" if item % 3 else "US") for item in items]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        log.to_csv("log.csv", index=False)
        pd.DataFrame(rows, columns=["item_id", "region"]).to_csv("windows.csv", index=False)
        made = Pipeline(setup_of("log.csv", available="windows.csv"), Path("runs"))
        made.pretrain()
        yield made, log


@pytest.fixture
def last(pipeline):
    """The last event of each user."""
    _, log = pipeline
    return log.sort_values("timestamp", kind="stable").groupby("user_id").last()


def test_ranks_and_lists_are_among_what_is_open_in_the_region_of_the_target(pipeline, last):
    made, _ = pipeline
    saved, targets = load_policy(made.pretrain()), made.data.test
    found = made.evaluate(made.pretrain()).set_index("user_id")
    kept = [user for user, row in last.iterrows() if not closed(row["item_id"], row["region"])]
    assert sorted(found.index) == kept
    assert 0 < len(kept) < 60
    score_NV = saved.policy.last_hidden_states(targets.history, targets.times_N)
    score_NV = score_NV @ saved.policy.item_embedding_VD.detach().T
    for n, (user, item) in enumerate(
        zip(targets.users_N.tolist(), targets.items_N.tolist(), strict=True)
    ):
        user = made.data.corpus.user_ids[user]
        start, stop = targets.history.offsets_N1[n : n + 2].tolist()
        had = set(targets.history.items_E[start:stop].tolist())
        rivals = [
            v
            for v, each in enumerate(saved.item_ids, start=1)
            if v != item and v not in had and not closed(each, last.loc[user, "region"])
        ]
        scores = score_NV[n]
        wanted = 1 + sum(bool(scores[v - 1] > scores[item - 1]) for v in rivals)
        assert found.loc[user, "rank"] == wanted


def test_a_saved_policy_obeys_in_the_region_of_the_last_event_or_in_one_that_is_named(
    pipeline, last, end, capsys
):
    made, log = pipeline
    folder = made.pretrain()

    def shown(*words):
        asked = ("recommend", folder, "--k", 40, "--output", "top.csv", *words)
        assert end(*asked) == 0
        return pd.read_csv("top.csv")

    for words in (("--users", ",".join(map(str, last.index))), ("--histories", "log.csv")):
        top = shown(*words)
        regions = [last.loc[user, "region"] for user in top["user_id"]]
        assert set(regions) == {"US", "DE"}
        assert not any(map(closed, top["item_id"], regions))
        assert {item % 3 for item in top["item_id"]} == {0, 1, 2}
        top = shown(*words, "--region", "DE")
        assert {item % 3 for item in top["item_id"]} == {1, 2}
    capsys.readouterr()
    top = shown("--histories", "log.csv", "--region", "de")
    assert {item % 3 for item in top["item_id"]} == {2}
    assert "no window of the policy is of this region" in capsys.readouterr().err

    # A last event on an item that the policy does not know says where its user is all the same.
    user = next(user for user in last.index if last.loc[user, "region"] == "US")
    moved = log.iloc[[0]].assign(user_id=user, item_id=999, timestamp=2 * 10**7, region="DE")
    pd.concat([log, moved]).to_csv("moved.csv", index=False)
    top = shown("--histories", "moved.csv").query("user_id == @user")
    assert {item % 3 for item in top["item_id"]} == {1, 2}
    # As a frame, and with events of which nothing is said.
    asked = load_policy(folder), log[log["user_id"] == user].assign(region=None), 40
    assert set(rp.recommend(*asked)["item_id"] % 3) == {2}
    assert set(rp.recommend(*asked, region="US")["item_id"] % 3) <= {0, 2}


def test_what_does_not_say_its_regions_is_one_sentence(pipeline, end, capsys, monkeypatch):
    made, log = pipeline
    folder = made.pretrain()
    log.drop(columns="region").to_csv("bare.csv", index=False)
    assert end("recommend", folder, "--histories", "bare.csv") == 2
    assert "do not say in which region a user is: name its column" in capsys.readouterr().err
    assert end("recommend", folder, "--histories", "bare.csv", "--region", "US") == 0
    words = ("--dataset", "bare.csv", "--available", "windows.csv", "--seeds", 1)
    assert end("run", STUDY, *words) == 2
    assert "bare does not say in which region an event is" in capsys.readouterr().err
    with pytest.raises(rp.UserError, match="the policy has windows by region, and the data frame"):
        rp.off_policy(load_policy(folder), log.drop(columns="region").assign(propensity=0.5))
    newer = log.drop(columns="region").assign(timestamp=log["timestamp"] + 10**8)
    with pytest.raises(rp.UserError, match="the policy has windows by region"):
        rp.posttrain_from(folder, newer)
    card = json.loads((folder / "policy.json").read_text())
    plain = Path("plain")
    plain.mkdir(exist_ok=True)
    for name in ("policy.safetensors", "source.json"):
        (plain / name).write_bytes((folder / name).read_bytes())
    (plain / "policy.json").write_text(json.dumps(card | {"available": []}))
    assert end("recommend", plain, "--histories", "log.csv", "--region", "US") == 2
    assert "has no windows of items by region" in capsys.readouterr().err
    broken = card | {"available": [["1", 1, 2, 3]]}
    (plain / "policy.json").write_text(json.dumps(broken))
    assert end("recommend", plain, "--histories", "log.csv") == 2
    assert "no list of windows" in capsys.readouterr().err


def test_a_policy_that_goes_on_keeps_to_the_regions_of_the_new_events(pipeline):
    made, log = pipeline
    shift = int(log["timestamp"].max() - log["timestamp"].min()) + 10
    newer = log.assign(timestamp=log["timestamp"] + shift, item_id=(log["item_id"] + 7) % 40)
    newer = newer[
        ~newer.set_index(["user_id", "item_id"]).index.isin(
            log.set_index(["user_id", "item_id"]).index
        )
    ]
    plan = rp.Training(steps=2, batch_size=8)
    done = rp.posttrain_from(made.pretrain(), newer, training=plan)
    targets = done.data.data.test
    ids = done.data.data.corpus.item_ids
    region_of = newer.set_index(["user_id", "item_id"])["region"]
    users = done.data.data.corpus.user_ids[targets.users_N.numpy()]
    assert len(users) > 5
    for user, item in zip(users.tolist(), targets.items_N.tolist(), strict=True):
        item = ids[item - 1]
        assert not closed(item, region_of[user, item])
    assert targets.masked > 0


def test_lists_before_an_event_are_those_of_the_users_region(pipeline, last, tmp_path):
    made, _ = pipeline
    rules = EventRules("final", "2", {"before": None})
    materialize(made.pretrain(), rules, 20, tmp_path)
    lists = Materialized.open(tmp_path)
    for user, row in last.iterrows():
        items = [int(item) for item in lists.of(str(user))["before"]]
        assert items
        assert not any(closed(item, row["region"]) for item in items)


def test_off_policy_weights_are_of_a_softmax_over_what_is_open_in_the_region():
    items, chance = (
        np.array([*"abcd"], dtype=object),
        dict(zip("abcd", [0.4, 0.3, 0.2, 0.1], strict=True)),
    )
    logit = dict(zip("abcd", [0.0, 0.5, 1.0, -0.5], strict=True))
    rng = np.random.default_rng(0)
    item_E = rng.choice(items, size=400, p=[*chance.values()])
    frame = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(100), 4),
            "item_id": item_E,
            "rating": rng.integers(1, 6, 400).astype(float),
            "timestamp": np.tile(np.arange(4), 100),
            "propensity": [chance[item] for item in item_E],
            "market": rng.choice(["US", "DE"], size=400),
        }
    )
    pd.DataFrame({"item_id": ["d", "a"], "region": ["US", "DE"]}).to_csv("w.csv", index=False)
    found = rp.off_policy(
        SameForAll(torch.tensor([*logit.values()]), items),
        *(frame, {"region": "market"}),
        repeats="allowed",
        available="w.csv",
    )
    wanted = []
    for row in frame[frame["timestamp"] > 0].itertuples():
        shown = "bcd" if row.market == "US" else "abc"
        if row.item_id in shown:
            total = sum(np.exp(logit[each]) for each in shown)
            wanted.append(np.exp(logit[row.item_id]) / total / row.propensity)
    np.testing.assert_allclose(found.rows[WEIGHT], wanted, rtol=1e-5)


def test_regions_of_the_log_change_no_number_where_windows_have_none(pipeline):
    """Weights, bit for bit, and rows. What the windows say by region is part of a stage's name."""
    made, log = pipeline
    middle = int(log["timestamp"].median())
    rows = [(int(item), middle) for item in sorted(log["item_id"].unique()) if item % 3 == 1]
    pd.DataFrame(rows, columns=["item_id", "from"]).to_csv("dated.csv", index=False)
    log.drop(columns="region").to_csv("bare.csv", index=False)
    both = [
        Pipeline(setup_of(csv, available="dated.csv"), Path("runs"))
        for csv in ("log.csv", "bare.csv")
    ]
    assert both[0].keys.pretrain.folder != both[1].keys.pretrain.folder, "another file"
    assert both[0].keys.pretrain.folder != made.keys.pretrain.folder
    policies = [load_policy(each.pretrain()).policy for each in both]
    for name, value in policies[0].state_dict().items():
        assert torch.equal(value, policies[1].state_dict()[name]), name
    pd.testing.assert_frame_equal(*(each.evaluate(each.pretrain()) for each in both))
    swapped = pd.read_csv("windows.csv")
    swapped["region"] = swapped["region"].map({"US": "DE", "DE": "US"})
    swapped.to_csv("swapped.csv", index=False)
    other = Pipeline(setup_of("log.csv", available="swapped.csv"), Path("runs"))
    assert other.keys.pretrain.folder != made.keys.pretrain.folder
