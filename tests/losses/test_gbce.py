"""By hand, against binary cross-entropy, and the paper's theorem by enumeration."""

import math
from fractions import Fraction

import pytest
import torch

from recsys_posttrain.errors import UserError
from recsys_posttrain.losses.gbce import GBCE, gbce, gbce_beta


@pytest.mark.parametrize(
    ("t", "rate", "beta"),
    [(0.0, 0.1, 1.0), (1.0, 0.1, 0.1), (0.75, 0.1, 0.325), (0.5, 0.25, 0.625), (0.75, 2.0, 1.75)],
)
def test_beta_by_hand(t, rate, beta):
    """0.1 (0.75 (1 - 10) + 10) = 0.325 and 0.25 (0.5 (1 - 4) + 4) = 0.625, as the paper has it."""
    assert gbce_beta(t, rate) == pytest.approx(beta)


def test_by_hand(candidates_of):
    """Logits 0, log 3, 0: -log sigmoid(0) = log 2 and -log(1 - sigmoid(log 3)) = log 4. Item 1 is
    logged; of the draws 1, 2, 3 the first is a hit: (beta log 2 + log 4 + log 2) / 4."""
    table = torch.tensor([[1.0], [3.0], [1.0]]).log()
    loss = gbce(torch.ones(1, 1), candidates_of(table, [1], [1, 2, 3], [1, 1, 1]), beta=0.5)
    torch.testing.assert_close(loss, torch.tensor([3.5 * math.log(2) / 4]))


def test_t_of_0_is_binary_cross_entropy(candidates_of):
    generator = torch.Generator().manual_seed(0)
    hidden, table = (torch.randn(n, 3, generator=generator) for n in (4, 6))
    items, drawn = [1, 2, 3, 1], [4, 5, 6]
    found_N = gbce(hidden, candidates_of(table, items, drawn, [1, 1, 1]), gbce_beta(0.0, 0.5))
    index_N4 = torch.tensor([[item, *drawn] for item in items]) - 1
    logit_N4 = (hidden @ table.T).gather(1, index_N4)
    expected_N4 = torch.nn.functional.binary_cross_entropy_with_logits(
        logit_N4, torch.tensor([1.0, 0, 0, 0]).expand(4, 4), reduction="none"
    )
    torch.testing.assert_close(found_N, expected_N4.mean(dim=1))


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("t", [0.0, 0.75, 1.0])
def test_what_it_learns(t, number, enumerated, candidates_of):
    """One context with p = (.1, .2, .3, .4): the gradient of the expected loss, over all logged
    items and all draws, is 0 where sigmoid(s) = beta p / (beta p + rate (1 - p)). The loss is
    strictly convex in the logits, so this is the minimum. At t = 1 it is p itself: calibrated."""
    p_V = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    rate = number / 4
    beta = 1 - t * (1 - rate)
    learned_V = beta * p_V / (beta * p_V + rate * (1 - p_V))
    if t == 1:
        torch.testing.assert_close(learned_V, p_V)
    else:
        assert (learned_V > p_V).all(), "too confident"
    table = learned_V.logit()[:, None].requires_grad_()
    one = torch.ones(4, 1, dtype=torch.float64)
    mean = torch.zeros((), dtype=torch.float64)
    for drawn, probability in enumerated([Fraction(1, 4)] * 4, number):
        found = candidates_of(table, [1, 2, 3, 4], list(drawn), [rate] * number)
        mean = mean + float(probability) * (p_V * gbce(one, found, gbce_beta(t, rate))).sum()
    (gradient,) = torch.autograd.grad(mean, table)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize(("t", "beta"), [(0.0, 1.0), (1.0, 1 / 3)])
def test_the_rate_is_that_of_the_catalogue(t, beta, world):
    """3 negatives of 9 items. All logits are 0: the loss is (beta + 3 - hits) log 2 / 4."""
    with torch.no_grad():
        world.policy.backbone.item_embedding.weight.zero_()
    objective = GBCE(negatives=3, t=t).build(torch.ones(9))
    loss_N = objective(world.policy, world.batch, torch.Generator().manual_seed(0))
    units_N = loss_N * 4 / math.log(2) - beta
    hits_N = (3 - units_N).round()
    torch.testing.assert_close(units_N, 3 - hits_N)
    assert ((hits_N >= 0) & (hits_N <= 1)).all()


def test_settings_are_checked():
    with pytest.raises(UserError, match="negatives=0 must be at least 1"):
        GBCE(negatives=0)
    with pytest.raises(UserError, match=r"t=1.5 must be from 0 to 1"):
        GBCE(t=1.5)
