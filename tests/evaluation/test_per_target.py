"""The frame of an evaluation that a user reads: the ids of the log throughout."""

import numpy as np
import pandas as pd
import pytest

import recsys_posttrain as rp


@pytest.fixture(scope="module")
def log():
    """A chosen item depends on the one before; ids are text, and in no order."""
    random = np.random.default_rng(1)
    rows = [
        (f"user {user}", f"isbn:{(7 * user + 3 * n) % 23}", int(random.integers(1, 6)), 9 * n)
        for user in range(40)
        for n in range(8)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])


@pytest.fixture(scope="module")
def evaluated(log, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        data = rp.load(log)
    plan, backbone = rp.Training(steps=3, batch_size=8), rp.SASRec(dim=8, blocks=1, max_length=8)
    return rp.evaluate(rp.pretrain(data, backbone, plan)[0], data)


def test_lists_hold_the_ids_of_the_log(evaluated, log):
    """The target stands in its list at the rank that the metrics say, and nothing that the user
    had before stands in it."""
    rows = evaluated.per_target
    assert len(rows) == 40
    had = log[log["timestamp"] < 63].groupby("user_id")["item_id"].agg(set)
    last = log[log["timestamp"] == 63].set_index("user_id")["item_id"]
    for row in rows.to_dict("records"):
        assert row["item_id"] == last[row["user_id"]]
        assert set(row["top10"]) <= set(log["item_id"]) - had[row["user_id"]]
        assert row["top10"] == row["top50"][:10]
        assert len(row["top50"]) == len(set(row["top50"])) == 23 - 7, "all that may be shown"
        assert row["top50"][int(row["rank"]) - 1] == row["item_id"]


def test_all_else_is_as_it_was(evaluated):
    names = ["top10", "top50"]
    pd.testing.assert_frame_equal(
        evaluated.per_target.drop(columns=names), evaluated.per_user.drop(columns=names)
    )
    assert evaluated.per_user["top10"][0].dtype == np.int64, "which the statistics read"
