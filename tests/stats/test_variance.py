"""Variance components by hand, by the sums of squares of a textbook, and in a simulation."""

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.report.table import comparison_table, write_table
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats.columns import Column
from recsys_posttrain.stats.variance import components, variance_components

NAN = np.nan


def test_by_hand():
    """Users 1, 3, 8 and seeds 0, 4 add up, so nothing is left: users have the variance 13, seeds 8.
    Of the mean they are 13 / 3 and 8 / 2."""
    found = components(np.array([[1.0, 3.0, 8.0], [5.0, 7.0, 12.0]]))
    assert found[:3] == pytest.approx((13, 8, 0))
    assert found[3:] == pytest.approx((13 / 25, 12 / 25, 0))


def test_a_rest_by_hand():
    """1 and -1 crosswise: no means differ, so users and seeds would be -2 each and are 0."""
    assert components(np.array([[1.0, -1.0], [-1.0, 1.0]])) == pytest.approx((0, 0, 4, 0, 0, 1))


def test_against_the_sums_of_squares_of_an_analysis_of_variance():
    values = np.random.default_rng(0).normal(size=(4, 7)) + np.arange(7) + [[0], [3], [1], [2]]
    total, num_seeds, num_users = values.sum(), 4, 7
    correction = total**2 / (num_seeds * num_users)
    of_users = sum(values[:, n].sum() ** 2 for n in range(7)) / num_seeds - correction
    of_seeds = sum(values[s].sum() ** 2 for s in range(4)) / num_users - correction
    of_rest = (values**2).sum() - correction - of_users - of_seeds
    rest = of_rest / (3 * 6)
    wanted = (of_users / 6 - rest) / num_seeds, (of_seeds / 3 - rest) / num_users, rest
    found = components(values)
    assert found[:3] == pytest.approx(wanted)
    of_mean = wanted[0] / 7 + wanted[1] / 4 + rest / 28
    assert found.share_seeds == pytest.approx(wanted[1] / 4 / of_mean)


def test_simulated_effects_come_back():
    """The mean over 2,000 tables of 6 seeds and 40 users is within 4 standard errors of the truth;
    none of them is near 0, so that no component is cut off."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(2_000):
        users, seeds = rng.normal(0, 2, 40), rng.normal(0, 1.5, (6, 1))
        found.append(components(users + seeds + rng.normal(0, 1, (6, 40)))[:3])
    error = np.std(found, axis=0) / np.sqrt(2_000)
    assert (np.abs(np.mean(found, axis=0) - [4, 2.25, 1]) < 4 * error).all()


def test_users_without_a_value_are_left_out_and_one_seed_says_nothing():
    whole = np.array([[1.0, 3.0, 8.0, NAN], [5.0, 7.0, 12.0, 2.0]])
    assert components(whole)[:3] == pytest.approx((13, 8, 0))
    assert np.isnan(components(whole[:1])).all()
    assert np.isnan(components(whole[:, :1])).all()
    assert np.isnan(components(np.ones((2, 3))).share_users)


def rows():
    """Of BC; a user with two targets, whose mean is 3."""
    targets = ((0, 1, 1.0), (1, 2, 2.0), (1, 3, 4.0), (2, 4, 8.0))
    cells = [(s, *at, value + 4 * s) for s in (0, 1) for *at, value in targets]
    frame = pd.DataFrame(cells, columns=["seed", "user_id", "item_id", "ndcg@10"])
    frame = frame.assign(reward=4.0, total_reward=9.0, method="BC")
    once = frame[frame["seed"] == 0].assign(method="Popularity")
    return pd.concat([once, frame], ignore_index=True)


def test_the_table_has_methods_with_several_seeds(tmp_path):
    column = Column("NDCG@10", "all", "ndcg@10")
    (row,) = variance_components(rows(), [column], RewardScale()).to_dict("records")
    assert (row["method"], row["column"]) == ("BC", "NDCG@10 all")
    assert [row[name] for name in ("users", "seeds", "rest")] == pytest.approx([13, 8, 0])
    assert (row["users_N"], row["seeds_S"]) == (3, 2)
    one = rows()[rows()["seed"] == 0]
    assert variance_components(one, [column], RewardScale()).empty
    table = comparison_table(rows(), num_items=9, columns=[column], resamples=50)
    write_table(table, tmp_path)
    assert pd.read_csv(tmp_path / "variance.csv")["users"].tolist() == pytest.approx([13])
    said = "Variance of BC's mean in NDCG@10 all: users 52%, seeds 48%, both together 0%"
    assert said in table.caption
    single = comparison_table(one, num_items=9, columns=[column], resamples=50)
    assert "Variance of" not in single.caption
    (tmp_path / "single").mkdir()
    write_table(single, tmp_path / "single")
    assert not (tmp_path / "single" / "variance.csv").exists()
