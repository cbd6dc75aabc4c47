import numpy as np
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds import logging_policy
from recsys_posttrain.worlds.logging_policy import (
    Log,
    LoggingPolicy,
    fitted_popularity,
    follow_lift,
    taste_lift,
)


def log_of(items, num_items, times=None):
    lengths = [len(each) for each in items]
    time_E = np.concatenate(times) if times else np.arange(sum(lengths))
    user_E = np.repeat(np.arange(len(items)), lengths)
    return Log(user_E, np.concatenate(items), time_E, np.array(lengths), num_items)


def test_sittings():
    """A user's first event, and one an hour after the last, begin a sitting."""
    log = log_of([[0, 1, 2], [0, 1]], 3, [[0, 3599, 7199], [7200, 7201]])
    assert log.sitting_E.tolist() == [1, 1, 2, 3, 3]


def test_what_follows_by_hand():
    """Items 0 1 2 in one sitting, then 3 alone: pairs 01, 12, 02, each in both orders.

    Six ordered pairs, two per item of the three: by chance 2 * 2 / 6 for each.
    """
    log = log_of([[0, 1, 2, 3]], 4, [[0, 1, 2, 9999]])
    together, alone, never = (1 + 1) / (4 / 6 + 1), 1 / (4 / 6 + 1), 1.0
    expected_VV = np.full((4, 4), never)
    expected_VV[:3, :3] = together
    expected_VV[range(3), range(3)] = alone
    np.testing.assert_allclose(follow_lift(log), expected_VV, rtol=1e-6)


def test_only_nearby_events_follow():
    """Item 0 and item 4 are four events apart, 0 and 3 three."""
    lift_VV = follow_lift(log_of([[0, 1, 2, 3, 4]], 5))
    assert lift_VV[0, 3] > 1 > lift_VV[0, 4]
    np.testing.assert_array_equal(lift_VV, lift_VV.T)


def test_taste_with_all_factors_is_the_observed_lift(monkeypatch):
    """total x seen / (user's events x item's events), by hand, and LEAST where nothing was seen."""
    monkeypatch.setattr(logging_policy, "RARE", 0.0)
    items = [[0, 1, 2], [0, 1], [2, 3], [0, 3]]
    count_V = np.array([3, 2, 2, 2])
    expected_NV = np.full((4, 4), logging_policy.LEAST)
    for user, seen in enumerate(items):
        expected_NV[user, seen] = 9 / (len(seen) * count_V[seen])
    np.testing.assert_allclose(taste_lift(log_of(items, 4), rank=3, seed=0), expected_NV, rtol=1e-4)


def test_popularity_of_equal_users_in_closed_form():
    """With T the same for all, a share s of users has seen item i when T p_i = -log(1 - s)."""
    log = log_of([[0, 1], [0, 2], [0, 1], [1, 2], [0, 1]], 3)
    popularity_V = fitted_popularity(np.ones((5, 3), dtype=np.float32), log)
    expected_V = -np.log(1 - np.array([4, 4, 2]) / 5)
    expected_V *= popularity_V.sum() / expected_V.sum()
    np.testing.assert_allclose(popularity_V, expected_V, rtol=1e-3)


def test_popularity_gives_items_their_counts():
    """Users with unequal lengths and affinities, drawn anew as races of exponential clocks.

    The fit stops each user's clocks at a fixed time, the race after a number of items; with 40
    items and lengths of 4 and 8 that differs by a few percent. Of the least counts, about 20, the
    mean of 50 draws has a standard error of 3%.
    """
    generator = np.random.default_rng(0)
    users, num_items = 400, 40
    affinity_NV = np.exp(generator.normal(size=(users, num_items))).astype(np.float32)
    lengths = np.where(np.arange(users) % 2, 4, 8)
    skew_V = 1 / np.arange(1, num_items + 1) ** 0.7
    items = [list(generator.choice(num_items, n, False, skew_V / skew_V.sum())) for n in lengths]
    log = log_of(items, num_items)
    weight_NV = affinity_NV * fitted_popularity(affinity_NV, log)
    rounds, drawn_V = 50, np.zeros(num_items)
    for _ in range(rounds):
        clock_NV = generator.exponential(size=weight_NV.shape) / weight_NV
        first_NV = clock_NV.argsort(axis=1).argsort(axis=1) < lengths[:, None]
        drawn_V += first_NV.sum(axis=0) / rounds
    real_V = np.bincount(log.item_E, minlength=num_items)
    np.testing.assert_allclose(drawn_V, real_V, rtol=0.1)


def test_preference_raises_the_weight_of_what_is_liked():
    """Without taste and dynamics, a star more multiplies the weight by exp(a), popularity apart."""
    log = log_of([[0, 1], [0, 2], [1, 2], [2, 0]], 3)
    reward_NV = np.array([[1, 2, 3], [3, 2, 1], [2, 2, 2], [5, 1, 1]], dtype=np.float32)
    policy = LoggingPolicy(preference=0.7, taste=0.0, dynamics=0.0, taste_rank=1)
    weights = policy.weights(log, reward_NV, seed=0)
    log_NV = np.log(weights.item_NV)
    difference_NV = log_NV - log_NV[2]  # user 2 likes all alike: popularity and a constant
    expected_NV = 0.7 * np.diff(reward_NV, axis=1)
    np.testing.assert_allclose(np.diff(difference_NV, axis=1), expected_NV, atol=1e-5)
    np.testing.assert_array_equal(weights.follows_VV, np.ones((3, 3)))


def test_mistakes():
    with pytest.raises(UserError, match="taste_rank is 0; give 1 or more"):
        LoggingPolicy(taste_rank=0)
