"""Errors in a log: where they fall, that they are those of the batches, and what stays."""

import numpy as np
import pytest
import torch

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.repeats import Rule
from recsys_posttrain.rewards.noise import (
    Gaussian,
    Independent,
    ItemBias,
    RareOptimism,
    RewardNoise,
    UserBias,
)
from recsys_posttrain.rewards.noise.log import batch_with_errors

LENGTH = 8


def noisy_log(small, noise, seed=0):
    return RewardNoise(log=noise, seed=seed).on_log(small.data, small.reference)


def first_events(train):
    return train.offsets_N1[:-1][train.lengths_N > 0]


def test_every_event_but_a_users_first_has_its_error_once(small):
    """Sequences of up to 31 events, in windows of 8: each item's error is found in all of them."""
    train = small.data.train
    log = noisy_log(small, ItemBias(0.5))
    assert log.redraw is None
    error_E = log.sequences.rewards_E - train.rewards_E
    is_first_E = torch.zeros(len(error_E), dtype=torch.bool)
    is_first_E[first_events(train)] = True
    assert not error_E[is_first_E].any()
    field = ItemBias(0.5).field(small.data, small.reference, 0)
    bias_V1 = field(batch_of(train, torch.tensor([1]), LENGTH))[1]
    expected_E = bias_V1[train.items_E - 1, 0]
    np.testing.assert_allclose(error_E[~is_first_E], expected_E[~is_first_E], atol=1e-6)
    for field in ("items_E", "timestamps_E", "offsets_N1"):
        assert torch.equal(getattr(log.sequences, field), getattr(train, field))
    assert int(train.lengths_N.max()) > 3 * LENGTH


@pytest.mark.parametrize(
    "noise", [Gaussian(1.0), Independent(1.0), UserBias(1.0), RareOptimism(1.0)]
)
def test_the_errors_are_those_of_the_batches_that_training_reads(small, noise):
    """In a log and drawn for a batch alike; a window's first event has one in the log only."""
    train = small.data.train
    usable_N = (train.lengths_N >= 2).nonzero().squeeze(1)
    clean = batch_of(train, usable_N, LENGTH, rule=Rule(history=True))
    in_log = batch_of(noisy_log(small, noise).sequences, usable_N, LENGTH)
    small.reference.clear_cache()
    in_batch = batch_with_errors(clean, noise.field(small.data, small.reference, 0))
    np.testing.assert_allclose(in_log.rewards_BT, in_batch.rewards_BT, atol=1e-5)
    past_BT, other_BT = in_log.history_rewards_BT, in_batch.history_rewards_BT
    np.testing.assert_allclose(past_BT[:, 1:], other_BT[:, 1:], atol=1e-5)
    assert torch.equal(other_BT[:, 0], clean.history_rewards_BT[:, 0])
    assert not torch.equal(in_log.rewards_BT, clean.rewards_BT)


def test_an_action_and_the_same_event_as_history_have_one_error(small):
    clean = batch_of(small.data.train, torch.tensor([1, 2, 3]), LENGTH)
    assert not clean.mask_BT.all()
    log = noisy_log(small, Independent(2.0, resampled=True))
    assert log.sequences is small.data.train
    noisy = log.redraw(clean, 11)
    for b, t in np.argwhere(clean.mask_BT.numpy()):
        if t > 0:
            assert noisy.history_rewards_BT[b, t] == noisy.rewards_BT[b, t - 1]
            assert noisy.rewards_BT[b, t] != clean.rewards_BT[b, t]
    assert not noisy.history_rewards_BT[~clean.mask_BT].any()
    assert torch.equal(noisy.rewards_BT, log.redraw(clean, 11).rewards_BT)
    assert not torch.equal(noisy.rewards_BT, log.redraw(clean, 12).rewards_BT)


def test_a_log_and_a_model_with_one_noise_err_alike(small):
    noise = RewardNoise(model=ItemBias(1.0), log=ItemBias(1.0), seed=4)
    train = small.data.train
    batch = batch_of(train, torch.tensor([1]), LENGTH)
    log = noise.on_log(small.data, small.reference).sequences
    in_log = batch_of(log, torch.tensor([1]), LENGTH)
    action_N1 = batch.action_N[:, None]
    noisy = noise.on_model(small.reward, small.data, small.reference).score(batch, action_N1)
    expected_N = (noisy - small.reward.score(batch, action_N1))[:, 0]
    np.testing.assert_allclose(in_log.reward_N - batch.reward_N, expected_N, atol=1e-5)
