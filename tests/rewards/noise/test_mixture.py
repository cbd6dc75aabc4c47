"""A mixture with another model, against the two of them; the limits of its share."""

import pytest
import torch

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.models.reward_model import score_next
from recsys_posttrain.rewards.control import ConstantReward
from recsys_posttrain.rewards.noise import RewardNoise, TruthShare
from recsys_posttrain.rewards.noise.bias import ItemBias
from recsys_posttrain.rewards.noise.mixture import Mixture
from recsys_posttrain.rewards.noise.model import NoisyReward

LENGTH = 8


def other_of(small):
    """The small model with an item bias: of another number of columns, and one member."""
    noise = RewardNoise(model=ItemBias(1.0), seed=4)
    return noise.on_model(ConstantReward(2.0, 30, LENGTH), small.data, small.reference)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_every_prediction_is_the_mean_of_both(small, share):
    other = other_of(small)
    mixed = Mixture(small.reward, other, share)
    rows_N = (small.data.train.lengths_N >= 2).nonzero().squeeze(1)
    batch = batch_of(small.data.train, rows_N, LENGTH)
    expected_NV = (1 - share) * small.reward.score_all(batch) + share * other.score_all(batch)
    torch.testing.assert_close(mixed.score_all(batch), expected_NV)
    items_NK = torch.randint(1, 31, (len(batch.action_N), 3))
    torch.testing.assert_close(mixed.score(batch, items_NK), expected_NV.gather(1, items_NK - 1))
    asked = small.data.test.history, items_NK[: len(small.data.test.items_N)]
    rest = small.data.test.times_N, small.data.test.users_N
    first_NK, second_NK = (score_next(each, *asked, *rest) for each in (small.reward, other))
    torch.testing.assert_close(
        score_next(mixed, *asked, *rest), (1 - share) * first_NK + share * second_NK
    )


def test_the_truth_is_certain_and_the_model_as_uncertain_as_its_share(small):
    mixed = Mixture(small.reward, other_of(small), 0.75)
    batch = batch_of(small.data.train, torch.tensor([1, 4]), LENGTH)
    items_NK = torch.randint(1, 31, (len(batch.action_N), 2))
    one_N1, two_N1 = items_NK.split(1, dim=1)
    torch.testing.assert_close(
        mixed.variance(batch, items_NK), small.reward.variance(batch, items_NK) / 16
    )
    torch.testing.assert_close(
        mixed.difference_spread(batch, one_N1, two_N1),
        small.reward.difference_spread(batch, one_N1, two_N1) / 4,
    )
    members_MNK = mixed.member_scores(batch, items_NK)
    torch.testing.assert_close(members_MNK.mean(dim=0), mixed.score(batch, items_NK))
    torch.testing.assert_close(
        members_MNK.var(dim=0, correction=0), mixed.variance(batch, items_NK), atol=1e-4, rtol=1e-3
    )


def test_a_share_is_from_0_to_less_than_1(small):
    assert RewardNoise(model=TruthShare(0.0)) == RewardNoise()
    noise = RewardNoise(model=TruthShare(0.5))
    assert noise.reads_truth
    assert noise.of_training() == RewardNoise()
    assert noise.on_model(small.reward, small.data, small.reference) is small.reward
    for level in (1.0, -0.1, 2.0):
        with pytest.raises(UserError, match=r"^TruthShare: level="):
            TruthShare(level)
    with pytest.raises(UserError, match="is not a noise of a log"):
        RewardNoise(log=TruthShare(0.5))
    assert not isinstance(noise.on_model(small.reward, small.data, small.reference), NoisyReward)
