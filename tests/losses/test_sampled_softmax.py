"""By hand, by enumeration of all draws, and against the full softmax at its limit."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch

from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.errors import UserError
from recsys_posttrain.losses.negatives import draw, excluded_draws, proposal
from recsys_posttrain.losses.sampled_softmax import SampledSoftmax, sampled_softmax
from recsys_posttrain.override import override

SHARE = [Fraction(n, 20) for n in (1, 6, 2, 8, 3)]
ITEMS = len(SHARE)


def leaves(positions=3):
    """hidden [N, D] and table [V, D] in float64, leaves with a gradient; items [N]."""
    generator = torch.Generator().manual_seed(0)
    hidden, table = (
        torch.randn(n, 2, generator=generator, dtype=torch.float64).requires_grad_()
        for n in (positions, ITEMS)
    )
    return hidden, table, torch.arange(positions) % ITEMS + 1


def test_by_hand(candidates_of):
    """Logits log 2, log 3, log 5. Item 1 is logged; draws 1, 2, 3, 3, expected 9, 1/2, 5, 5 times:
    Z_hat = 2 + 3 / (1/2) + 5 / 5 + 5 / 5 = 10, and the loss is log 10 - log 2. The hit is gone."""
    table = torch.tensor([[2.0], [3.0], [5.0]]).log()
    drawn = candidates_of(table, [1], [1, 2, 3, 3], [9, 0.5, 5, 5])
    loss = sampled_softmax(torch.ones(1, 1), drawn)
    torch.testing.assert_close(loss, torch.tensor([math.log(5)]))


def test_draws_that_are_not_eligible_drop_by_hand(candidates_of):
    """The same logits; item 3 is drawn twice and not eligible: 2 + 3 / (1/2) = 8."""
    table = torch.tensor([[2.0], [3.0], [5.0]]).log()
    drawn = candidates_of(table, [1], [1, 2, 3, 3], [9, 0.5, 5, 5])
    excluded = excluded_draws(
        Excluded(torch.tensor([3]), torch.tensor([0, 1])), drawn.negatives.items_K, 4
    )
    loss = sampled_softmax(torch.ones(1, 1), drawn._replace(excluded=excluded))
    torch.testing.assert_close(loss, torch.tensor([math.log(4)]))


def losses_of_all_draws(number, enumerated, candidates_of):
    """[(loss_N, probability)] and the exact -log pi of the logged items."""
    hidden, table, items = leaves()
    found = []
    for drawn, probability in enumerated(SHARE, number):
        expected = [float(number * SHARE[v - 1]) for v in drawn]
        loss_N = sampled_softmax(hidden, candidates_of(table, items, list(drawn), expected))
        found.append((loss_N.detach(), float(probability)))
    log_pi_NV = (hidden @ table.T).log_softmax(dim=1).detach()
    return found, -log_pi_NV[torch.arange(len(items)), items - 1]


@pytest.mark.parametrize("number", [1, 2, 3, 6])
def test_the_partition_sum_is_unbiased(number, enumerated, candidates_of):
    """exp(loss) = Z_hat / exp(s(a)), so its mean over all draws is 1 / pi(a): exactly, for any K,
    also where an item is expected more than once (K q = 2.4) or can hit the logged one."""
    found, exact_N = losses_of_all_draws(number, enumerated, candidates_of)
    mean_N = sum(probability * loss_N.exp() for loss_N, probability in found)
    torch.testing.assert_close(mean_N, exact_N.exp())


def test_the_loss_is_too_small_by_less_and_less(enumerated, candidates_of):
    """Jensen: E[log Z_hat] < log Z; stratified draws of 2, 4 and 8 halve the strata each time."""
    biases = []
    for number in (2, 4, 8):
        found, exact_N = losses_of_all_draws(number, enumerated, candidates_of)
        biases.append(exact_N - sum(probability * loss_N for loss_N, probability in found))
    for larger, smaller in pairwise(biases):
        assert (larger > smaller).all()
    assert (biases[-1] > 0).all()


@pytest.mark.parametrize("times", [1, 2])
def test_uniform_draws_of_all_items_are_the_full_softmax(times, candidates_of):
    """K = V and K = 2 V: the value and both gradients are those of cross-entropy."""
    hidden, table, items = leaves(7)
    negatives = draw(proposal(torch.zeros(ITEMS), 0.0), times * ITEMS, torch.Generator())
    drawn = candidates_of(table, items, negatives.items_K, negatives.expected_K)
    found_N = sampled_softmax(hidden, drawn)
    exact_N = torch.nn.functional.cross_entropy(hidden @ table.T, items - 1, reduction="none")
    torch.testing.assert_close(found_N, exact_N)
    gradients = (torch.autograd.grad(loss.sum(), (hidden, table)) for loss in (found_N, exact_N))
    for found, exact in zip(*gradients, strict=True):
        torch.testing.assert_close(found, exact)


def test_more_draws_bring_the_expected_gradient_to_that_of_the_full_softmax(
    enumerated, candidates_of
):
    hidden, table, items = leaves()
    exact_N = torch.nn.functional.cross_entropy(hidden @ table.T, items - 1, reduction="none")
    (exact_ND,) = torch.autograd.grad(exact_N.sum(), hidden)
    errors = []
    for number in (2, 4, 8):
        mean_ND = torch.zeros_like(exact_ND)
        for drawn, probability in enumerated(SHARE, number):
            expected = [float(number * SHARE[v - 1]) for v in drawn]
            loss_N = sampled_softmax(hidden, candidates_of(table, items, list(drawn), expected))
            mean_ND += float(probability) * torch.autograd.grad(loss_N.sum(), hidden)[0]
        errors.append(float((mean_ND - exact_ND).norm()))
    assert errors[0] > errors[1] > errors[2] > 0


def test_huge_logits(candidates_of):
    """Logits 1000 and -1000 in float32, each expected once: log(e^1000 + e^-1000) - s(a) is 0 for
    item 1 and 2000 for item 2. Where the only draw is the logged item itself, it is 0."""
    table = torch.tensor([[1000.0], [-1000.0]])
    loss = sampled_softmax(torch.ones(2, 1), candidates_of(table, [1, 2], [1, 2], [1, 1]))
    assert loss.tolist() == [0.0, 2000.0]
    assert sampled_softmax(torch.ones(1, 1), candidates_of(table, [1], [1], [1])).tolist() == [0.0]


def test_settings_are_checked():
    with pytest.raises(UserError, match="negatives=0 must be at least 1"):
        SampledSoftmax(negatives=0)
    with pytest.raises(UserError, match=r"popularity_exponent=-1.* 0 draws all items alike"):
        override(SampledSoftmax(), "popularity_exponent=-1")
