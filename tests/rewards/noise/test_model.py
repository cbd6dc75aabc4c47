"""A noisy reward model is the inner model plus the error, whichever way it is asked."""

import numpy as np
import pytest
import torch

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.repeats import Rule
from recsys_posttrain.models.reward_model import score_next
from recsys_posttrain.rewards.noise import (
    Gaussian,
    ItemBias,
    PopularityBias,
    RareOptimism,
    RewardNoise,
    UserBias,
)

LENGTH, ITEMS = 8, 30


@pytest.fixture
def batch(small):
    return batch_of(small.data.train, torch.tensor([1, 2, 4, 6]), LENGTH)


def noisy_of(small, noise, seed=0):
    return RewardNoise(model=noise, seed=seed).on_model(small.reward, small.data, small.reference)


def slow_error(small, noise, batch, seed=0):
    """[N, V], one position and item at a time."""
    small.reference.clear_cache()
    state_NQ, factor_VQ = noise.field(small.data, small.reference, seed)(batch)
    error_NV = np.zeros((len(batch.action_N), ITEMS))
    for n, v in np.ndindex(*error_NV.shape):
        error_NV[n, v] = state_NQ[n].double() @ factor_VQ[v].double()
    return error_NV


@pytest.mark.parametrize("noise", [Gaussian(0.5), UserBias(2.0), RareOptimism(1.0)])
def test_every_prediction_has_the_error_once(small, batch, noise):
    noisy, error_NV = noisy_of(small, noise), slow_error(small, noise, batch)
    clean_NV = small.reward.score_all(batch).double().numpy()
    close = dict(atol=1e-5)  # float32 sums of products around 10
    np.testing.assert_allclose(noisy.score_all(batch), clean_NV + error_NV, **close)

    generator = torch.Generator().manual_seed(0)
    items_NK = torch.randint(1, ITEMS + 1, (len(batch.action_N), 3), generator=generator)
    error_NK = np.take_along_axis(error_NV, items_NK.numpy() - 1, axis=1)
    before = small.reward.interval(batch, items_NK)
    for ours, clean in zip(noisy.interval(batch, items_NK), before, strict=True):
        np.testing.assert_allclose(ours, clean.numpy() + error_NK, **close)
    pair = items_NK[:, :2], items_NK[:, 1:]
    spread_NK = small.reward.difference_spread(batch, *pair)
    torch.testing.assert_close(noisy.difference_spread(batch, *pair), spread_NK)
    expected_NK = small.reward.score(batch, items_NK).numpy() + error_NK
    np.testing.assert_allclose(noisy.score(batch, items_NK), expected_NK, **close)

    state_MNR, factor_MVR = noisy.member_factors(batch)
    plain_MNR, plain_MVR = small.reward.member_factors(batch)
    difference_MNV = state_MNR @ factor_MVR.mT - plain_MNR @ plain_MVR.mT
    for member_NV in difference_MNV:
        np.testing.assert_allclose(member_NV, error_NV, **close)


def test_resampled_noise_is_drawn_by_seed_and_is_0_without_one(small, batch):
    noisy = noisy_of(small, ItemBias(1.0, resampled=True))
    assert torch.equal(noisy.score_all(batch), small.reward.score_all(batch))
    drawn = []
    for seed in (7, 8, 7):
        noisy.resample(seed)
        drawn.append(noisy.score_all(batch))
        expected = slow_error(small, ItemBias(1.0), batch, seed)
        error_NV = (drawn[-1] - small.reward.score_all(batch)).numpy()
        np.testing.assert_allclose(error_NV, expected, atol=1e-5)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    noisy.resample(None)
    assert torch.equal(noisy.score_all(batch), small.reward.score_all(batch))
    items_NK = batch.action_N[:, None]
    assert torch.equal(noisy.score(batch, items_NK), small.reward.score(batch, items_NK))
    assert torch.equal(noisy.member_factors(batch)[0], small.reward.member_factors(batch)[0])


def test_frozen_noise_and_other_models_stay_as_they_are(small, batch):
    noisy = noisy_of(small, ItemBias(1.0))
    before, clean = noisy.score_all(batch), small.reward.score_all(batch)
    for seed in (3, None):
        noisy.resample(seed)
        small.reward.resample(seed)
        assert torch.equal(noisy.score_all(batch), before)
        assert torch.equal(small.reward.score_all(batch), clean)


def test_the_error_of_a_batch_is_computed_once_until_it_is_forgotten(small, batch, monkeypatch):
    noisy, asked = noisy_of(small, ItemBias(1.0)), []
    field = noisy.error_field
    monkeypatch.setattr(noisy, "error_field", lambda given: asked.append(given) or field(given))
    noisy.score_all(batch)
    noisy.score(batch, batch.action_N[:, None])
    assert len(asked) == 1
    noisy.clear_cache()
    assert small.reward._latest is None
    noisy.score_all(batch)
    other = batch_of(small.data.train, torch.tensor([1, 2]), LENGTH)
    noisy.score_all(other)
    assert [given is batch for given in asked] == [True, True, False]


@pytest.mark.parametrize(
    "noise", [Gaussian(1.0), ItemBias(1.0), UserBias(1.0), PopularityBias(1.0), RareOptimism(1.0)]
)
def test_the_error_is_the_same_in_training_and_in_evaluation(small, noise):
    """Each user's history up to the last training event, once inside a batch and once alone."""
    noisy, train = noisy_of(small, noise), small.data.train
    # Of 13, 11 and 7 events, the last of them on an item that is new to the user: in training a
    # repeated item would be eligible.
    users_N = torch.tensor([12, 11, 5])
    batch = batch_of(train, users_N, LENGTH, rule=Rule(history=True))
    trained_NV = (noisy.score_all(batch) - small.reward.score_all(batch)).numpy()
    last_N = train.offsets_N1[1:][users_N] - 1
    first_N = train.offsets_N1[:-1][users_N]
    index_E = torch.cat([torch.arange(a, b) for a, b in zip(first_N, last_N, strict=True)])
    histories = type(train)(
        train.items_E[index_E],
        train.rewards_E[index_E],
        train.timestamps_E[index_E],
        torch.cat([torch.zeros(1, dtype=torch.int64), (last_N - first_N).cumsum(0)]),
    )
    every_NV = torch.arange(1, ITEMS + 1).expand(3, ITEMS)
    noisy.clear_cache()
    times_N = train.timestamps_E[last_N]
    evaluated_NV = score_next(noisy, histories, every_NV, times_N, users_N)
    evaluated_NV = evaluated_NV - score_next(small.reward, histories, every_NV, times_N)
    for user in batch.sequences_B.tolist():
        place = users_N.tolist().index(user)
        (trained_1V,) = trained_NV[(batch.user_N == user) & batch.is_last_N]
        np.testing.assert_allclose(evaluated_NV[place], trained_1V, atol=2e-5, err_msg=str(user))


def test_histories_are_as_long_as_the_policy_sees(small):
    assert noisy_of(small, ItemBias(1.0)).max_length == LENGTH
    small.reward.max_length = 5
    try:
        assert noisy_of(small, ItemBias(1.0)).max_length == 5
    finally:
        del small.reward.max_length
