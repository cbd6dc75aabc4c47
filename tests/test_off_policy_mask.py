"""rp.off_policy under a business mask, given or of a saved policy: the softmax by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

import recsys_posttrain as rp
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.off_policy import WEIGHT
from recsys_posttrain.models.ranker import SameForAll

ITEMS = np.array([*"abcde"], dtype=object)
LOGIT_V = np.array([0.0, 0.5, 1.0, -0.5, 2.0])
B = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}  # the frame has no e


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    item_E = rng.choice([*B], size=400, p=[*B.values()])
    return pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(100), 4),
            "item_id": item_E,
            "rating": rng.integers(1, 6, 400).astype(float),
            "timestamp": np.tile(np.arange(4), 100),
            "propensity": [B[item] for item in item_E],
        }
    )


def weights(targets, open_at):
    """pi(a) / b(a) with pi a softmax over what is open at the time."""
    logit = dict(zip(ITEMS, LOGIT_V, strict=True))
    return [
        np.exp(logit[row.item_id])
        / sum(np.exp(logit[item]) for item in open_at(row.timestamp))
        / row.propensity
        for row in targets.itertuples()
    ]


def test_the_softmax_is_over_what_may_be_shown(frame, tmp_path, capsys):
    """e, which nobody chose, is masked; d is open until the second 2."""
    policy = SameForAll(torch.from_numpy(LOGIT_V), ITEMS)
    pd.DataFrame({"item_id": ["d"], "until": [2]}).to_csv(tmp_path / "w.csv", index=False)
    found = rp.off_policy(
        policy, frame, repeats="allowed", never_shown=["e"], available=tmp_path / "w.csv"
    )
    targets = frame[frame["timestamp"] > 0]
    closed = (targets["item_id"] == "d") & (targets["timestamp"] >= 2)
    kept = targets[~closed]
    wanted = weights(kept, lambda time: "abcd" if time < 2 else "abc")
    np.testing.assert_allclose(found.rows[WEIGHT], wanted, rtol=1e-5)
    snips = np.average(kept["rating"], weights=wanted)
    assert found.values.loc["snips", "value"] == pytest.approx(snips, rel=1e-5)
    assert found.support.overlap == pytest.approx(1.0)
    said = capsys.readouterr().err
    assert f"{closed.sum()} of 300 targets are left out: their item may not be shown then" in said
    # Without the mask half of the policy is on e.
    assert rp.off_policy(policy, frame, repeats="allowed").support.overlap < 0.6


def test_a_saved_policy_brings_its_own(frame, tmp_path):
    """And the unit of its rewards, and its rule of repeats."""
    pd.DataFrame({"item_id": ["d"], "until": [2]}).to_csv(tmp_path / "w.csv", index=False)
    mask = {"never_shown": ["b"], "available": tmp_path / "w.csv", "repeats": "allowed"}
    log = frame.drop(columns="propensity").assign(rating=(frame["rating"] > 3).astype(float))
    data = rp.load(log, split=rp.LeaveOneOut(minimum_item_ratings=1), **mask)
    backbone = rp.SASRec(dim=8, blocks=1, feed_forward=8, max_length=4)
    policy, _ = rp.pretrain(data, backbone, rp.Training(steps=2))
    rp.save_policy(policy, tmp_path / "policy", data)
    asked = log.assign(propensity=frame["propensity"])
    scale = data.corpus.reward_scale
    saved = rp.off_policy(rp.load_policy(tmp_path / "policy"), asked)
    given = rp.off_policy(policy, asked, scale=scale, **mask)
    pd.testing.assert_frame_equal(saved.rows, given.rows)
    pd.testing.assert_frame_equal(saved.values, given.values)
    assert "b" not in set(saved.rows["item_id"])
    assert saved.values["value"].between(0, 1.5).all()
    plain = rp.off_policy(policy, asked, scale=scale, repeats="allowed")
    assert len(plain.rows) > len(saved.rows)


def test_a_mask_that_cannot_be_is_refused(frame, tmp_path):
    policy = SameForAll(torch.from_numpy(LOGIT_V), ITEMS)
    with pytest.raises(UserError, match=r"never_shown that the data frame does not have among"):
        rp.off_policy(policy, frame, never_shown=["z"])
    with pytest.raises(UserError, match=r"no/such\.csv"):
        rp.off_policy(policy, frame, available="no/such.csv")
