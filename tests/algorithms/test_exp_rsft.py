import math

import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms.asft import ASFT
from recsys_posttrain.algorithms.exp_rsft import ExpRSFT, log_mean_exp
from recsys_posttrain.algorithms.signals import model_reward


def test_the_mean_weight_by_hand():
    """Exponents 0 and log 3 weigh 1 and 3, whose mean is 2."""
    torch.testing.assert_close(log_mean_exp(doubles(0.0, math.log(3))).item(), math.log(2))


@pytest.mark.parametrize("weight_cap", [20.0, None])
def test_rewards_of_a_thousand_do_not_overflow(tabular, weight_cap):
    """Adding a constant changes nothing: 1000 and 1000 + log 3 weigh 0.5 and 1.5."""
    rewards = [1000.0, 1000 + math.log(3)]
    output = ExpRSFT(1.0, weight_cap=weight_cap).loss(
        tabular.batch([[1, 1]], [[1, 1]], [rewards]), tabular.actors(rewards=rewards)
    )
    expected = math.log(2) * doubles(0.5, 1.5)
    torch.testing.assert_close(output.loss_N.detach(), expected, rtol=1e-12, atol=0)
    assert output.metrics["weight/capped"] == 0


def test_the_cap_by_hand(tabular):
    """The log holds rewards -2 log 3, 0 and 2 log 3, mean 0, at temperature 2: 1/3, 1 and 3, capped
    at 2, have the mean 10/9. The largest then weighs 2 / (10/9) = 9/5, and the least 3/10; a reward
    of 10,000 weighs 9/5 too."""
    log = [-2 * math.log(3), 0.0, 2 * math.log(3)]
    batch = tabular.batch([[1] * 3], [[1] * 3], [[log[2], log[0], 1e4]])
    output = ExpRSFT(2.0, weight_cap=2.0).loss(batch, tabular.actors(rewards=log))
    torch.testing.assert_close(output.loss_N.detach(), math.log(2) * doubles(1.8, 0.3, 1.8))
    assert output.metrics["weight/capped"].item() == pytest.approx(2 / 3)


def test_it_is_asft_with_a_constant_baseline_under_the_same_cap(tabular):
    """Up to the mean weight of the log. The mean of its rewards 1, 3, 5 is r_hat here, so that both
    are capped at the same rewards: at temperature 1/2 weights e^-4, 1, e^4, of which 20 is left."""
    batch, actors = tabular.random()
    actors.reward.scores.fill_(3.0)
    ours, theirs = (kind(temperature=0.5).loss(batch, actors) for kind in (ExpRSFT, ASFT))
    mean_weight = (math.exp(-4) + 1 + 20) / 3
    torch.testing.assert_close(mean_weight * ours.loss_N, theirs.loss_N)
    shares = [output.metrics["weight/capped"].item() for output in (ours, theirs)]
    assert shares == [pytest.approx(0.2)] * 2, "one of five rewards: 5, 1, 3, 4, 2"


def test_loss_and_gradient_by_hand(tabular):
    """The log holds rewards 0 and log 3 (mean weight 2). A reward of log 3 weighs 3/2, so at
    pi = (1/4, 3/4), a = 1: loss 1.5 log 4, gradient 1.5 (1/4 - 1, 3/4)."""
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log(), rewards=(0.0, math.log(3)))
    output = ExpRSFT(1.0).loss(tabular.batch(rewards=[[math.log(3)]]), actors)
    output.loss_N.sum().backward()
    torch.testing.assert_close(output.loss_N.item(), 1.5 * math.log(4))
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([-1.125, 1.125]))
    torch.testing.assert_close(output.metrics["weight/max"].item(), 1.5)


def test_a_low_temperature_clones_only_the_best(tabular):
    """Rewards 5 and 4 at temperature 0.01, log 1, 3, 5: weights 3 and 3 exp(-100). Under a cap both
    weigh the same, as does all that is above the mean: the log's weights are 0, 1 and 20."""
    batch = tabular.batch([[1, 1]], [[1, 2]], [[5.0, 4.0]])
    for cap, weights in ((None, (3.0, 0.0)), (20.0, (60 / 21, 60 / 21))):
        loss_N = ExpRSFT(0.01, weight_cap=cap).loss(batch, tabular.actors()).loss_N
        torch.testing.assert_close(loss_N.detach(), math.log(2) * doubles(*weights))


def test_reward_can_be_the_model(tabular):
    """r_hat is log 6 for every item, and the log's mean weight is 2: the weight is 3."""
    actors = tabular.actors(scores=doubles([6.0, 6.0]).log(), rewards=(0, math.log(3)))
    output = ExpRSFT(1.0, reward=model_reward).loss(tabular.batch(), actors)
    torch.testing.assert_close(output.loss_N.item(), 3 * math.log(2))
