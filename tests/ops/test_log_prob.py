"""Against dense softmax arithmetic in float64, finite differences, and each other."""

import math

import pytest
import torch

from recsys_posttrain.ops import log_prob as module
from recsys_posttrain.ops.log_prob import log_prob, loss_of_log_prob
from recsys_posttrain.ops.softmax import masked_mean

TOKENS, ITEMS, WIDTH = 7, 5, 3
CHUNKS = pytest.mark.parametrize("chunk", [2, 7, 512])
# Rows with the same item twice, and all items.
ITEMS_NK = torch.tensor([[1, 5], [2, 2], [3, 4], [5, 1], [4, 4], [1, 1], [2, 5]])
TARGET_NK = torch.linspace(-3, 1, 2 * TOKENS, dtype=torch.float64).view(TOKENS, 2)


@pytest.fixture
def world(states_and_table):
    return states_and_table(TOKENS, ITEMS, WIDTH)


@pytest.fixture
def passes(count_logits):
    return count_logits(module)


def dense(hidden, table):
    return (hidden @ table.T).log_softmax(dim=1).gather(1, ITEMS_NK - 1)


def loss_of(log_prob_NK, target_NK):
    """Neither linear nor symmetric in the two items."""
    error_NK = (log_prob_NK - target_NK).exp() * torch.tensor([1.0, 0.3], dtype=target_NK.dtype)
    return error_NK.sum(dim=1)


def slopes(function, world, weight=None):
    """The value and the gradients of its (weighted) sum."""
    for each in world:
        each.grad = None
    value = function(*world)
    (value if weight is None else weight * value).sum().backward()
    return [value.detach(), *(each.grad for each in world)]


@CHUNKS
def test_log_prob_value_and_gradient(world, chunk):
    found = slopes(lambda *inputs: log_prob(*inputs, ITEMS_NK, chunk=chunk), world, TARGET_NK)
    torch.testing.assert_close(found, slopes(dense, world, TARGET_NK))


def test_log_prob_by_finite_differences(world):
    assert torch.autograd.gradcheck(lambda *inputs: log_prob(*inputs, ITEMS_NK), world)


@CHUNKS
@pytest.mark.parametrize("equal", [True, False])
def test_loss_of_log_prob(world, chunk, equal, passes):
    """The logits are made once where all incoming gradients are equal, as in a mean."""
    weight = torch.full((TOKENS,), 0.3) if equal else torch.arange(1.0, TOKENS + 1)
    found = slopes(
        lambda *inputs: loss_of_log_prob(*inputs, ITEMS_NK, loss_of, TARGET_NK, chunk=chunk)[0],
        world,
        weight,
    )
    expected = slopes(lambda *inputs: loss_of(dense(*inputs), TARGET_NK), world, weight)
    torch.testing.assert_close(found, expected)
    assert len(passes) == (1 if equal else 2)


def test_a_loss_that_is_zero_where_it_does_not_count_needs_no_second_pass(world, passes):
    kept_N = torch.tensor([1, 0, 1, 1, 0, 1, 1], dtype=torch.float64)

    def kept_loss(log_prob_NK, target_NK, kept_N):
        return kept_N * loss_of(log_prob_NK, target_NK)

    found = slopes(
        lambda *inputs: loss_of_log_prob(*inputs, ITEMS_NK, kept_loss, TARGET_NK, kept_N)[0],
        world,
        kept_N / 5,
    )
    expected = slopes(
        lambda *inputs: loss_of(dense(*inputs), TARGET_NK) * kept_N, world, kept_N / 5
    )
    torch.testing.assert_close(found, expected)
    assert len(passes) == 1


def test_the_log_probabilities_come_along_without_a_gradient(world):
    _, found = loss_of_log_prob(*world, ITEMS_NK, loss_of, TARGET_NK)
    torch.testing.assert_close(found, dense(*world).detach())
    assert not found.requires_grad


def test_a_mean_over_some_positions(world):
    """Positions out of the mean get no gradient at all."""
    mask = torch.tensor([True, True, False, True, False, True, True])
    loss, _ = loss_of_log_prob(*world, ITEMS_NK, loss_of, TARGET_NK)
    masked_mean(loss, mask).backward()
    assert torch.equal(world[0].grad.any(dim=1), mask)


@pytest.mark.parametrize("fused", [True, False])
def test_where_the_exponential_overflows(fused):
    """Items (1, 1, -1) at logits +-100 in float32: item 1 costs log 2 and item 3 costs 200 + log 2.
    Softmax is (1/2, 1/2, 0), so the slope of the sum of both in the state is 1 - 1 - 2."""
    hidden = torch.tensor([[100.0], [1.0]], requires_grad=True)
    table = torch.tensor([[1.0], [1.0], [-1.0]])
    items = torch.tensor([[1, 3], [1, 1]])
    if fused:
        value, found = loss_of_log_prob(hidden, table, items, lambda chosen: chosen.sum(dim=1))
    else:
        found = log_prob(hidden, table, items)
        value = found.sum(dim=1)
    expected = torch.tensor([-math.log(2), -200 - math.log(2)])
    torch.testing.assert_close(found[0].detach(), expected)
    value.sum().backward()
    torch.testing.assert_close(hidden.grad[0], torch.tensor([-2.0]))


@pytest.mark.parametrize("fused", [True, False])
def test_bfloat16_products(fused):
    """Rounding moves a logit by less than 2^-7 sum_d |h_d t_d| (see test_logsumexp.py), the slope
    at an item by 2^-9 more; results are float32."""
    generator = torch.Generator().manual_seed(1)
    hidden, table = (torch.randn(200, 16, generator=generator) for _ in range(2))
    table *= 0.3
    bound = 2 * 2**-7 * float((hidden.abs() @ table.abs().T).max()) + 2**-9
    items = torch.randint(1, 201, (200, 3), generator=generator)
    found = []
    for logits_dtype in (None, torch.bfloat16):
        inputs = [each.clone().requires_grad_() for each in (hidden, table)]
        if fused:
            total = lambda chosen: chosen.sum(dim=1)  # noqa: E731
            value, _ = loss_of_log_prob(*inputs, items, total, logits_dtype=logits_dtype)
        else:
            value = log_prob(*inputs, items, logits_dtype).sum(dim=1)
        value.mean().backward()
        found.append([value.detach(), *(each.grad for each in inputs)])
    for exact, low in zip(*found, strict=True):
        assert low.dtype == torch.float32
        assert 0 < (low - exact).norm() < bound * exact.norm()
