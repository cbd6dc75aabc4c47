"""rp.off_policy: from a plain data frame of another policy's choices."""

import numpy as np
import pandas as pd
import pytest
import torch

import recsys_posttrain as rp
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.off_policy import ESTIMATORS, WEIGHT
from recsys_posttrain.models.ranker import SameForAll
from recsys_posttrain.reward_scale import RewardScale

ITEMS = np.array(["a", "b", "c", "d"], dtype=object)
B_V = np.array([0.4, 0.3, 0.2, 0.1])
REWARD_V = np.array([1.0, 2.0, 3.0, 5.0])
LOGIT_V = np.array([0.0, 0.5, 1.0, -0.5])
USERS, EVENTS = 300, 4


@pytest.fixture(scope="module")
def frame():
    """Choices with repetition, so that everything may always be shown."""
    rng = np.random.default_rng(0)
    item_E = rng.choice(4, size=USERS * EVENTS, p=B_V)
    return pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(USERS), EVENTS),
            "item_id": ITEMS[item_E],
            "rating": REWARD_V[item_E],
            "timestamp": np.tile(np.arange(EVENTS), USERS),
            "propensity": B_V[item_E],
        }
    )


def ranker(item_ids=ITEMS, logit_V=LOGIT_V):
    return SameForAll(torch.from_numpy(logit_V), item_ids)


def test_the_value_of_a_known_policy(frame):
    """pi = softmax(LOGIT_V), its value by hand; first events are histories only. The interval of
    SNIPS is near that of its influence by hand: targets are independent."""
    found = rp.off_policy(ranker(), frame)
    pi_V = np.exp(LOGIT_V) / np.exp(LOGIT_V).sum()
    target_N = frame["timestamp"] > 0
    assert len(found.rows) == target_N.sum() == found.support.targets
    logged = frame[target_N]
    weight_V = dict(zip(ITEMS, pi_V / B_V, strict=True))
    weight_N = logged["item_id"].map(weight_V).to_numpy()
    np.testing.assert_allclose(found.rows[WEIGHT], weight_N, rtol=1e-5)
    assert found.values.index.tolist() == ["ips", "clipped-ips", "snips"]
    snips = (weight_N * logged["rating"]).sum() / weight_N.sum()
    ips = (weight_N * logged["rating"]).mean()
    assert found.values["value"].tolist() == pytest.approx([ips, ips, snips], rel=1e-5)
    truth = float(pi_V @ REWARD_V)
    assert (found.values["low"] < truth).all()
    assert (truth < found.values["high"]).all()
    influence = weight_N * (logged["rating"] - snips) / weight_N.mean()
    half = 1.96 * influence.std() / np.sqrt(len(logged))
    low, high = found.values.loc["snips", ["low", "high"]]
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)
    assert found.support.warning == ""
    assert str(found).endswith(found.support.line)


def test_columns_of_other_names(frame):
    """A mapped name wins over a usual one; what is in the frame beside them is not read."""
    other = frame.rename(columns={"rating": "watched", "propensity": "p", "item_id": "film"})
    other["rating"] = -1.0
    other["note"] = "x"
    names = {"rating": "watched", "propensity": "p", "item_id": "film"}
    found, wanted = rp.off_policy(ranker(), other, names), rp.off_policy(ranker(), frame)
    pd.testing.assert_frame_equal(found.values, wanted.values)
    shuffled = frame.sample(frac=1, random_state=0)  # and rows in any order
    shuffled = rp.off_policy(ranker(), shuffled).values
    pd.testing.assert_series_equal(shuffled["value"], wanted.values["value"])


def test_with_a_reward_model_all_estimators_are_there(frame):
    from recsys_posttrain.models import SASRec
    from recsys_posttrain.training.ensemble import RewardEnsemble

    encoder = SASRec(dim=4, blocks=1, feed_forward=4, max_length=4, history_rewards=True)
    model = RewardEnsemble(encoder, members=2, rank=2).build(4, 2.0).eval()
    model.item_ids = ITEMS
    found = rp.off_policy(ranker(), frame, reward=model)
    assert [f"reward/{name}" for name in found.values.index] == list(ESTIMATORS)
    pi_V = np.exp(LOGIT_V) / np.exp(LOGIT_V).sum()
    low, high = found.values.loc["dr", ["low", "high"]]
    assert low < pi_V @ REWARD_V < high


def test_rewards_that_are_no_stars(frame):
    """Estimates are in the unit of the frame; the policy reads stars."""
    scale = RewardScale(40, 50, 20, zero=5, unit=10)
    found = rp.off_policy(ranker(), frame.assign(rating=10 * frame["rating"] + 5), scale=scale)
    wanted = rp.off_policy(ranker(), frame).values.loc["snips", "value"]
    assert found.values.loc["snips", "value"] == pytest.approx(10 * wanted + 5, rel=1e-6)


def test_items_that_the_frame_never_shows_are_said(frame, capsys):
    """A fifth item takes a third of the policy."""
    logit_V = np.append(LOGIT_V, np.log(np.exp(LOGIT_V).sum() / 2))
    five = ranker(np.array([*ITEMS, "e"], dtype=object), logit_V)
    found = rp.off_policy(five, frame)
    assert found.support.overlap == pytest.approx(2 / 3, rel=1e-5)
    assert "the log never shows some of what the policy does (33%)" in capsys.readouterr().err
    assert "not to be believed" in str(found)


@pytest.mark.parametrize(
    ("change", "columns", "sentence"),
    [
        (lambda f: f.drop(columns="propensity"), {}, "the data frame has no column propensity: "),
        (lambda f: f.drop(columns="timestamp"), {}, "has no column timestamp; the columns found"),
        (lambda f: f, {"rating": "stars"}, "the data frame has no column 'stars', given for ratin"),
        (lambda f: f, {"reward": "rating"}, r"columns=\{'reward': ...\}: give one of user_id, ite"),
        (lambda f: f.assign(propensity=0.0), {}, "row 1 has '?0.0'?: correct or remove that row"),
        (
            lambda f: f.assign(propensity=f["propensity"].where(f.index != 6)),
            {},
            "the data frame: a propensity, .* row 7 has nothing",
        ),
        (lambda f: f.assign(propensity=2.0), {}, "must be above 0 and at most 1 in every row"),
        (lambda f: f.drop_duplicates("user_id"), {}, "the data frame has one event per user"),
    ],
)
def test_what_is_refused(frame, change, columns, sentence):
    with pytest.raises(UserError, match=sentence):
        rp.off_policy(ranker(), change(frame), columns)


def test_propensities_of_a_behaviour_policy(frame, capsys):
    """One that is the log's own gives the estimates of the log's propensities, whatever the order
    of its items; and the result says that they are estimated."""
    plain = frame.drop(columns="propensity")
    turned = SameForAll(torch.from_numpy(np.log(B_V[::-1]).copy()), ITEMS[::-1].copy())
    found = rp.off_policy(ranker(), plain, behaviour=turned)
    wanted = rp.off_policy(ranker(), frame)
    pd.testing.assert_frame_equal(found.values, wanted.values, rtol=1e-6)
    assert found.is_estimated
    assert not wanted.is_estimated
    assert "propensities are estimated" in str(found)
    assert "estimated" not in str(wanted)


def test_a_behaviour_policy_that_cannot_serve(frame):
    plain = frame.drop(columns="propensity")
    three = SameForAll(torch.zeros(3), ITEMS[:3])
    with pytest.raises(UserError, match=r"behaviour does not know 1 of 4 items .*'d'"):
        rp.off_policy(ranker(), plain, behaviour=three)
    with pytest.raises(UserError, match="has propensities, so that behaviour= is not needed"):
        rp.off_policy(ranker(), frame, behaviour=three)
    with pytest.raises(UserError, match="behaviour"):
        rp.off_policy(ranker(), plain, behaviour="a policy")
