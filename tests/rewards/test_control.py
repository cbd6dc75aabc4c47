"""Uninformative rewards: which ones there are, and which place each takes."""

import pytest
import torch
from data_factory import made_corpus

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.rewards.control import ConstantReward, ConstantRewards, ShuffledRewards

EVENTS = 400


@pytest.fixture
def log():
    """Ten users of 40 events; each event has a reward of its own, so places can be told apart."""
    return made_corpus([40] * 10, rewards=range(EVENTS)).sequences


def test_shuffling_keeps_every_reward_and_depends_on_the_seed_alone(log):
    before = torch.get_rng_state()
    first_E = ShuffledRewards(1).rewards(log)
    assert torch.equal(first_E.sort().values, log.rewards_E)
    assert torch.equal(ShuffledRewards(1).rewards(log), first_E)
    assert not torch.equal(ShuffledRewards(2).rewards(log), first_E)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(log.rewards_E, torch.arange(EVENTS).float()), "the log stays as it is"


def test_rewards_move_between_users(log):
    """Of 400 places a random permutation keeps 1 on average (Poisson: 8 or more once in 10^5), and
    a user keeps 4 of 40 rewards on average: were rewards shuffled within users, it would be 40."""
    shuffled_E = ShuffledRewards().rewards(log)
    assert int((shuffled_E == log.rewards_E).sum()) < 8
    kept = int((shuffled_E.long() // 40 == torch.arange(EVENTS) // 40).sum())
    assert kept < 100, "40 on average, standard deviation below 7"


def test_the_constant_is_the_mean_of_the_log(log):
    """0 + ... + 399 over 400 is 199.5, which float32 holds exactly."""
    assert ConstantRewards().rewards(log).tolist() == [199.5] * EVENTS


def test_a_mean_of_many_rewards_is_not_rounded_on_the_way():
    """2^24 + 1 and 2^24 + 3 added in float32 would lose the ones; the mean is 2^24 + 2."""
    log = made_corpus([2], rewards=[2.0**24, 2.0**24 + 4]).sequences
    assert ConstantRewards().rewards(log).tolist() == [2.0**24 + 2] * 2


def test_the_constant_model_answers_its_value_to_the_bit():
    """Also 3.7, which float32 cannot hold exactly: the nearest float32, and no interval."""
    batch = batch_of(made_corpus([3, 2]).sequences, torch.tensor([0, 1]), 4)
    model = ConstantReward(3.7, num_items=5, max_length=4)
    expected = torch.tensor(3.7)
    assert (model.score_all(batch) == expected).all()
    interval = model.interval(batch, batch.action_N[:, None])
    assert torch.equal(interval.lower_NK, interval.upper_NK)
    assert (interval.mean_NK == expected).all()
