"""experiments/off_policy.py: the log's policy in a world of MovieLens, and orders by hand."""

import estimated_propensities
import numpy as np
import off_policy_rule
import pandas as pd
import pytest
from off_policy import logging_policy, measured, orders, rankers_of
from small_world import SMALL
from worlds.choices import choices_at

import recsys_posttrain as rp
from recsys_posttrain.data import LeaveOneOut, UserHoldout
from recsys_posttrain.evaluation.off_policy import ESTIMATORS
from recsys_posttrain.models import SASRec


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path))
    return rp.load(SMALL, split=LeaveOneOut(minimum_item_ratings=1))


def test_the_probability_of_every_choice_is_what_the_log_states(small):
    choices = choices_at(SMALL, small)
    b_NV = logging_policy(choices.logit_NV, small)
    targets = small.test
    chosen_N = b_NV[np.arange(len(b_NV)), targets.items_N.numpy() - 1]
    np.testing.assert_allclose(chosen_N, targets.propensities_N.numpy(), rtol=1e-4)
    np.testing.assert_allclose(b_NV.sum(axis=1), 1)
    for share_V, had in zip(b_NV, _lists(targets.history), strict=True):
        assert not share_V[np.array(had) - 1].any()
    mean_N = np.array([1.5, 3.0, 4.2]).repeat(20_000)
    rating_N = choices.rated(mean_N, np.random.default_rng(0))
    assert set(rating_N) <= {1, 2, 3, 4, 5}
    np.testing.assert_allclose(rating_N.reshape(3, -1).mean(axis=1), [1.5, 3.0, 4.2], atol=0.04)


def test_a_reduced_study_finds_the_truth_without_bias(small):
    """Of 80 targets drawn with replacement, which stand for the whole world here."""
    table, order = measured(SMALL, small, rankers_of(small, steps=2), 1000, replications=60)
    assert set(table["estimator"]) == {name.removeprefix("reward/") for name in ESTIMATORS}
    assert table["method"].nunique() == 9
    known = table[table["sample"] > 20].set_index(["estimator", "method"])
    for name in ("ips", "dr"):
        part = known.loc[name]
        assert len(part) >= 4
        # Seven standard errors of the mean of 60 replications.
        assert (part["bias"].abs() < 7 * part["sd"] / np.sqrt(60)).all()
    assert (order["policies"] == 9).all()
    assert order[["log", "replications", "lowest_tenth"]].abs().le(1).all().all()


def test_orders_by_hand():
    """Three policies worth 1, 2 and 3. In the log dm has them in order and ips reversed; of two
    replications of ips one is right and one reversed."""
    table = pd.DataFrame(
        {
            "estimator": ["dm"] * 3 + ["ips"] * 3,
            "log": [4.0, 5.0, 6.0, 3.0, 2.0, 1.0],
        }
    )
    means = {
        "reward/dm": np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]),
        "reward/ips": np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]),
    }
    found = orders(table, means, np.array([1.0, 2.0, 3.0])).set_index("estimator")
    assert found.loc["dm", ["log", "replications", "lowest_tenth"]].tolist() == [1, 1, 1]
    assert found.loc["ips", ["log", "replications"]].tolist() == [-1, 0]
    assert found.loc["ips", "lowest_tenth"] == pytest.approx(-0.8)


def _lists(sequences):
    return [each.tolist() for each in sequences.items_E.split(sequences.lengths_N.tolist())]


def test_estimated_propensities_in_a_reduced_form(small, monkeypatch):
    """The pretrained policy has weights of 1 by itself, so its IPS is the log's mean reward; the
    other columns know nothing of who estimated."""
    monkeypatch.setattr(estimated_propensities, "BACKBONE", SASRec(dim=8, blocks=1))
    data = rp.load(SMALL, split=UserHoldout(minimum_item_ratings=1, seed=1))
    table = estimated_propensities.measured(SMALL, data, steps=2).set_index("method")
    logged = data.corpus.reward_scale.from_stars(data.test.rewards_N.double().numpy()).mean()
    assert table.loc["Pretrained", "ips estimated"] == pytest.approx(logged, rel=1e-6)
    assert not np.isclose(table["dr"], table["dr estimated"], rtol=1e-6).any()
    assert table.loc["Uniform", "gold"] < table.loc["Tilt(0.3)", "gold"]


def test_thresholds_are_tried_in_a_reduced_form(small, monkeypatch):
    """A policy against itself differs by nothing; sixty replications hold the truth of most."""
    monkeypatch.setattr(off_policy_rule, "FLATTER", (4,))
    monkeypatch.setattr(off_policy_rule, "UNIFORM", (0.5,))
    known = off_policy_rule.policies(small, steps=2)
    np.testing.assert_allclose(known[0]["Pretrained, 50% uniform"].sum(axis=1), 1)
    table = off_policy_rule.measured(SMALL, small, known, 1000, 60).set_index(
        ["method", "estimator"]
    )
    assert (
        (table.loc["Pretrained", ["rmse_difference", "coverage_difference"]] == [0, 1]).all().all()
    )
    moved = table[table["rmse_difference"] > 0]
    assert len(moved) == len(table) - len(off_policy_rule.SHOWN)
    assert moved.xs("dr", level="estimator")["coverage"].median() > 0.8
    assert table["believed"].between(0, 1).all()


def test_what_the_tool_would_say_is_what_it_says():
    weight_D = np.tile([0.9, 1.1], 300)
    assert off_policy_rule.believed(weight_D, 1.0)
    assert not off_policy_rule.believed(weight_D, 0.9)
    assert not off_policy_rule.believed(weight_D[:398], 1.0)
