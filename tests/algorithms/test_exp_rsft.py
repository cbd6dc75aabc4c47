import math

import torch
from data_factory import doubles

from recsys_posttrain.algorithms.exp_rsft import ExpRSFT, exponential_weight, log_mean_weight
from recsys_posttrain.algorithms.signals import model_reward


def test_weights_by_hand():
    """Rewards 0 and 2 log 3 at temperature 2 weigh 1 and 3; their mean is 2: 0.5 and 1.5."""
    reward = torch.tensor([0.0, 2 * math.log(3)], dtype=torch.float64)
    log_mean = log_mean_weight(reward, temperature=2.0)
    torch.testing.assert_close(log_mean.item(), math.log(2))
    torch.testing.assert_close(exponential_weight(reward, 2.0, log_mean), doubles(0.5, 1.5))


def test_rewards_of_a_thousand_do_not_overflow():
    """Adding a constant changes nothing: 1000 and 1000 + log 3 weigh 0.5 and 1.5."""
    reward = torch.tensor([1000.0, 1000 + math.log(3)], dtype=torch.float64)
    weight = exponential_weight(reward, 1.0, log_mean_weight(reward, 1.0))
    torch.testing.assert_close(weight, doubles(0.5, 1.5), rtol=1e-12, atol=0)


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
    """Rewards 5 and 4 at temperature 0.01, log 1, 3, 5: weights 3 and 3 exp(-100)."""
    batch = tabular.batch([[1, 1]], [[1, 2]], [[5.0, 4.0]])
    loss_N = ExpRSFT(0.01).loss(batch, tabular.actors()).loss_N
    expected = torch.tensor([3 * math.log(2), 0.0], dtype=torch.float64)
    torch.testing.assert_close(loss_N.detach(), expected)


def test_reward_can_be_the_model(tabular):
    """r_hat is log 6 for every item, and the log's mean weight is 2: the weight is 3."""
    actors = tabular.actors(scores=doubles([6.0, 6.0]).log(), rewards=(0, math.log(3)))
    output = ExpRSFT(1.0, reward=model_reward).loss(tabular.batch(), actors)
    torch.testing.assert_close(output.loss_N.item(), 3 * math.log(2))
