import math

import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms.rwr import RWR, linear_weight
from recsys_posttrain.algorithms.signals import model_reward
from recsys_posttrain.errors import UserError


def test_linear_weight_by_hand():
    """Rewards 1 and 5 over a mean of 4: 0.25 and 1.25."""
    weight = linear_weight(torch.tensor([1.0, 5.0]), torch.tensor(4.0))
    assert weight.tolist() == [0.25, 1.25]


def test_loss_by_hand(tabular):
    """Two items, even odds: -log pi = log 2. The log's rewards 1, 3, 5 have mean 3, whatever this
    batch holds, so rewards 5 and 1 weigh 5/3 and 1/3: losses 1.1552 and 0.2310."""
    output = RWR().loss(tabular.batch([[1, 1]], [[1, 2]], [[5.0, 1.0]]), tabular.actors())
    torch.testing.assert_close(output.loss_N.detach(), doubles(5 / 3, 1 / 3) * math.log(2))
    torch.testing.assert_close(output.metrics["weight/mean"].item(), 1.0)
    torch.testing.assert_close(output.metrics["weight/max"].item(), 5 / 3)


def test_gradient_is_the_weight_times_that_of_cloning(tabular):
    """Reward 2 over mean 3 at pi = (1/4, 3/4), a = 1: 2/3 * (1/4 - 1, 3/4)."""
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log())
    RWR().loss(tabular.batch(rewards=[[2.0]]), actors).loss_N.sum().backward()
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([-0.5, 0.5]))


def test_reward_can_be_the_model(tabular):
    """r_hat = 6 over the log's mean 3 doubles log 2."""
    actors = tabular.actors(scores=torch.full((1, 2), 6.0))
    output = RWR(reward=model_reward).loss(tabular.batch(rewards=[[1.0]]), actors)
    torch.testing.assert_close(output.loss_N.item(), 2 * math.log(2))


def test_a_mean_of_zero_is_refused(tabular):
    with pytest.raises(UserError, match="mean logged reward is 0"):
        RWR().loss(tabular.batch(rewards=[[1.0]]), tabular.actors(rewards=(-1.0, 1.0)))
