import math

import torch
from data_factory import doubles

from recsys_posttrain.algorithms.bc import BC


def test_loss_by_hand(tabular):
    """-log of 1/4 is log 4 and -log of 3/4 is log 4/3, whatever the rewards are."""
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log())
    output = BC().loss(tabular.batch([[1, 1]], [[1, 2]], [[5.0, 1.0]]), actors)
    expected = torch.tensor([math.log(4), math.log(4 / 3)], dtype=torch.float64)
    torch.testing.assert_close(output.loss_N.detach(), expected)


def test_gradient_is_probability_minus_indicator(tabular):
    """d(-log softmax_a) / d logit_v = softmax_v - [v = a]; softmax = (1/6, 2/6, 3/6), a = 2."""
    even = torch.zeros(1, 3)
    actors = tabular.actors(even, doubles([1.0, 2.0, 3.0]).log(), even)
    output = BC().loss(tabular.batch([[1]], [[2]], [[5.0]]), actors)
    output.loss_N.sum().backward()
    torch.testing.assert_close(output.loss_N.item(), math.log(3))
    expected = doubles([1 / 6, 2 / 6 - 1, 3 / 6])
    torch.testing.assert_close(actors.policy.backbone.logits.grad, expected)
