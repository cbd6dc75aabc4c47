import math

import numpy as np
import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms.dpo import DPO, dpo_loss
from recsys_posttrain.algorithms.margin import loss_of_pairs
from recsys_posttrain.algorithms.pairs import SampledPairs
from recsys_posttrain.algorithms.robust_dpo import RobustDPO, robust_loss


def test_losses_by_hand():
    """beta 2 and a margin of log 3 / 2: the sigmoids of right and wrong are 3/4 and 1/4. With 1/5
    of the pairs flipped cDPO loses 4/5 log(4/3) + 1/5 log 4, rDPO their difference over 3/5. The
    derivatives in the margin: of right -2 / 4, of wrong 2 * 3 / 4; so -1/10 and -7/6."""
    for unbiased, expected, slope in (
        (False, 0.8 * math.log(4 / 3) + 0.2 * math.log(4), -0.1),
        (True, (0.8 * math.log(4 / 3) - 0.2 * math.log(4)) / 0.6, -7 / 6),
    ):
        margin = doubles(math.log(3) / 2, grad=True)
        loss = robust_loss(margin, 2.0, 0.2, unbiased)
        loss.backward()
        torch.testing.assert_close(loss.detach(), doubles(expected))
        torch.testing.assert_close(margin.grad, doubles(slope))


@pytest.mark.parametrize("unbiased", [False, True])
def test_against_numpy_and_the_closed_form_gradient(unbiased):
    """To 1e-9 at random margins: log(1 + exp(-+ beta h)) and their logistic derivatives."""
    generator = np.random.default_rng(0)
    for beta, share in ((0.3, 0.0), (1.0, 0.1), (8.0, 0.45)):
        h = generator.normal(size=200) * 3
        margin = torch.tensor(h, requires_grad=True)
        loss = robust_loss(margin, beta, share, unbiased)
        loss.sum().backward()
        right, wrong = np.logaddexp(0, -beta * h), np.logaddexp(0, beta * h)
        sigma = 1 / (1 + np.exp(-beta * h))
        if unbiased:
            expected = ((1 - share) * right - share * wrong) / (1 - 2 * share)
            slope = -beta * ((1 - share) * (1 - sigma) + share * sigma) / (1 - 2 * share)
        else:
            expected = (1 - share) * right + share * wrong
            slope = -beta * (1 - share - sigma)
        np.testing.assert_allclose(loss.detach().numpy(), expected, atol=1e-9, rtol=1e-12)
        np.testing.assert_allclose(margin.grad.numpy(), slope, atol=1e-9, rtol=1e-12)


def test_the_mean_over_flips_of_rdpo_is_dpo_on_the_right_pairs():
    margin = torch.linspace(-3, 3, 50, dtype=torch.float64)
    as_it_is, flipped = (robust_loss(sign * margin, 2.0, 0.3, True) for sign in (1, -1))
    torch.testing.assert_close(0.7 * as_it_is + 0.3 * flipped, dpo_loss(margin, 2.0))


def test_cdpo_is_least_where_the_margin_says_how_often_pairs_are_right():
    """beta h = log((1 - e) / e) = log 9; rDPO falls on."""
    at = doubles(math.log(9) / 2, grad=True)
    robust_loss(at, 2.0, 0.1, False).backward()
    assert abs(at.grad.item()) < 1e-12
    near, far = robust_loss(doubles(50.0, 51.0), 2.0, 0.1, True)
    torch.testing.assert_close((far - near).item(), -2 * 0.1 / 0.8)


@pytest.mark.parametrize("unbiased", [False, True])
def test_without_flips_it_is_dpo(tabular, unbiased):
    batch, actors = tabular.random(members=3)
    losses, pairs = [], SampledPairs(width=1.0)
    for algorithm in (DPO(4.0, pairs), RobustDPO(4.0, 0.0, unbiased, pairs)):
        actors.generator.manual_seed(1)
        losses.append(algorithm.loss(batch, actors))
    torch.testing.assert_close(losses[0].loss_N, losses[1].loss_N)
    assert losses[0].metrics == losses[1].metrics
    assert losses[0].counted_N.any()


def test_each_field_reaches_the_loss(tabular):
    """The loss of the margins of its pairs, and DPO's pairs at the same seed."""
    batch, actors = tabular.random(members=3)
    pairs = SampledPairs(4, width=2.0)
    margins = []
    actors.generator.manual_seed(3)
    loss_of_pairs(batch, actors, pairs, lambda margin_N: margins.append(margin_N) or margin_N, 1.0)
    for unbiased in (False, True):
        actors.generator.manual_seed(3)
        output = RobustDPO(0.7, 0.3, unbiased, pairs).loss(batch, actors)
        torch.testing.assert_close(output.loss_N, robust_loss(margins[0], 0.7, 0.3, unbiased))
        reward = 0.7 * margins[0][output.counted_N].mean().item()
        torch.testing.assert_close(output.metrics["rewards/margins"].item(), reward)
    assert 0 < output.counted_N.sum() < len(output.counted_N)
