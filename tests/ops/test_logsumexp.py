"""Against dense softmax arithmetic written out in NumPy or by hand, in float64."""

import math

import numpy as np
import pytest
import torch
from data_factory import doubles

from recsys_posttrain.ops import logsumexp
from recsys_posttrain.ops.logsumexp import (
    exponentials,
    fast_products,
    linear_logsumexp,
    positions_per_chunk,
    weighted_nll,
)
from recsys_posttrain.ops.softmax import masked_mean

TOKENS, ITEMS, WIDTH = 7, 5, 3
CHUNKS = pytest.mark.parametrize("chunk", [2, 7, 512])
ACTIONS = torch.tensor([1, 5, 2, 2, 3, 4, 5])
# A weight may be negative (a reward below 0) or 0.
WEIGHTS = doubles(1.0, 0.5, -2.0, 3.0, 0.0, 1.5, 0.25)
UPSTREAM = {
    "equal": torch.full((TOKENS,), 0.3, dtype=torch.float64),
    "equal where weights are": torch.where(WEIGHTS == 0, 9.0, doubles(0.3)),
    "different": torch.arange(1.0, TOKENS + 1, dtype=torch.float64),
}
upstreams = pytest.mark.parametrize("kind", UPSTREAM)


@pytest.fixture
def world(states_and_table):
    return states_and_table(TOKENS, ITEMS, WIDTH)


@pytest.fixture
def passes(count_logits):
    return count_logits(logsumexp)


def numpy_of(world):
    """Log-normalisers [N] and probabilities [N, V]."""
    hidden, table = (each.detach().numpy() for each in world)
    weight = np.exp(hidden @ table.T)
    total = weight.sum(axis=1, keepdims=True)
    return np.log(total[:, 0]), weight / total


@CHUNKS
def test_logsumexp(world, chunk):
    """For measurements: without a gradient."""
    lse = linear_logsumexp(*world, chunk=chunk)
    torch.testing.assert_close(lse, torch.from_numpy(numpy_of(world)[0]))
    assert not lse.requires_grad


def test_logsumexp_of_huge_logits():
    """Items (1, 1, -1): log(2 e^1000 + e^-1000) = 1000 + log 2; log(2 e^-2000 + e^2000) = 2000."""
    lse = linear_logsumexp(doubles([1000.0], [-2000.0]), doubles([1.0], [1.0], [-1.0]))
    torch.testing.assert_close(lse, doubles(1000 + math.log(2), 2000.0))


def test_exponentials_of_huge_logits_are_shifted_by_the_largest():
    """Logits (100, 100, -100) and (90, 90, -90) of items (1, 1, -1): exp leaves float32, so the
    largest one is the shift, and lse is that plus log 2. Of (1, 1, -1) there is no shift."""
    table, logits = torch.tensor([[1.0], [1.0], [-1.0]]), torch.empty(2, 3)
    hidden = torch.tensor([[100.0], [90.0]])
    torch.mm(hidden, table.T, out=logits)
    shift, lse = exponentials(logits, hidden, table, torch.float32, None)
    assert logits.tolist() == [[1, 1, 0]] * 2
    assert shift.tolist() == [100, 90]
    torch.testing.assert_close(lse, torch.tensor([100.0, 90.0]) + math.log(2))
    logits = table.T.clone()
    shift, lse = exponentials(logits, torch.ones(1, 1), table, torch.float32, None)
    torch.testing.assert_close(logits, torch.tensor([[math.e, math.e, 1 / math.e]]))
    assert shift.tolist() == [0]
    torch.testing.assert_close(lse, torch.tensor([math.log(2 * math.e + 1 / math.e)]))


@CHUNKS
@upstreams
def test_weighted_nll_value_and_gradient(world, chunk, kind, passes):
    """c_n w_n (softmax - [v = item]) is the gradient in the logits. Where all c_n are equal, as
    in a mean, or differ at a weight of 0 alone, the logits are computed once; otherwise twice, with
    the same result."""
    hidden, table = world
    loss = weighted_nll(hidden, table, ACTIONS, WEIGHTS, chunk=chunk)
    _, probability = numpy_of(world)
    chosen = probability[np.arange(TOKENS), ACTIONS.numpy() - 1]
    torch.testing.assert_close(loss.detach(), -WEIGHTS * torch.from_numpy(np.log(chosen)))
    (UPSTREAM[kind] * loss).sum().backward()
    indicator = torch.nn.functional.one_hot(ACTIONS - 1, ITEMS)
    share = (UPSTREAM[kind] * WEIGHTS)[:, None] * (torch.from_numpy(probability) - indicator)
    torch.testing.assert_close(hidden.grad, share @ table.detach())
    torch.testing.assert_close(table.grad, share.T @ hidden.detach())
    assert len(passes) == (2 if kind == "different" else 1)


def test_a_mean_over_some_positions_is_no_equal_gradient(world):
    """Positions out of the mean get no gradient at all."""
    hidden, table = world
    mask = torch.tensor([True, True, False, True, False, True, True])
    masked_mean(weighted_nll(hidden, table, ACTIONS, WEIGHTS), mask).backward()
    assert torch.equal(hidden.grad.any(dim=1), mask & (WEIGHTS != 0))


def test_gradient_by_finite_differences_none_in_the_weight_and_the_same_value_without(world):
    assert torch.autograd.gradcheck(lambda h, t: weighted_nll(h, t, ACTIONS, WEIGHTS), world)
    weight = WEIGHTS.clone().requires_grad_()
    value = weighted_nll(*world, ACTIONS, weight)
    value.sum().backward()
    assert weight.grad is None
    with torch.no_grad():
        torch.testing.assert_close(weighted_nll(*world, ACTIONS, WEIGHTS), value.detach())


def test_weighted_nll_where_the_exponential_overflows(passes):
    """Items (1, 1, -1) at logits +-100 in float32: item 1 costs log 2 and item 3 costs
    200 + log 2; softmax is (1/2, 1/2, 0), so the gradients in the state are 1 - 1 and 1 + 1."""
    hidden = torch.tensor([[100.0], [100.0]], requires_grad=True)
    table = torch.tensor([[1.0], [1.0], [-1.0]])
    loss = weighted_nll(hidden, table, torch.tensor([1, 3]), torch.ones(2))
    torch.testing.assert_close(loss.detach(), torch.tensor([0.0, 200.0]) + math.log(2))
    loss.sum().backward()
    torch.testing.assert_close(hidden.grad, torch.tensor([[0.0], [2.0]]))
    assert len(passes) == 3  # without a shift, with one, and again for the gradient


def test_a_large_catalogue_is_walked_in_smaller_chunks():
    """512 positions of 2^16 logits are 2^25; of 10^6 logits 33 would fit, and 64 are taken. Four
    arrays at once share the room."""
    sizes = [1, 3416, 2**16, 2**17, 10**6, 10**9]
    assert [positions_per_chunk(items) for items in sizes] == [512, 512, 512, 256, 64, 64]
    assert positions_per_chunk(2**16, arrays=4) == 128


def test_one_token_and_one_item():
    """A choice among one item costs nothing and pulls nowhere."""
    hidden, table = torch.tensor([[2.0]], requires_grad=True), torch.tensor([[3.0]])
    loss = weighted_nll(hidden, table, torch.tensor([1]), torch.ones(1))
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), torch.zeros(1))
    torch.testing.assert_close(hidden.grad, torch.zeros(1, 1))


def test_a_million_items():
    """Equal logits over V items: log V; the gradient in the state is the mean row minus the
    chosen one, here 0 - 1."""
    items = 1_000_000
    table = torch.ones(items, 1)
    table[::2] = -1
    hidden = torch.zeros(2, 1, requires_grad=True)
    loss = weighted_nll(hidden, table, torch.tensor([2, items]), torch.ones(2))
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), torch.full((2,), math.log(items)))
    torch.testing.assert_close(hidden.grad, torch.full((2, 1), -1.0))


def test_bfloat16_products():
    """Rounding to 8 bits moves a factor, and then the logit, by 2^-9 of itself: a logit by less
    than 2^-7 sum_d |h_d t_d|, and a probability by twice that share. The results are float32."""
    generator = torch.Generator().manual_seed(1)
    hidden, table = (torch.randn(200, 16, generator=generator) for _ in range(2))
    table *= 0.3
    bound = 2 * 2**-7 * float((hidden.abs() @ table.abs().T).max())
    items, weight = torch.randint(1, 201, (200,), generator=generator), torch.ones(200)
    found = []
    for logits_dtype in (None, torch.bfloat16):
        inputs = [each.clone().requires_grad_() for each in (hidden, table)]
        value = weighted_nll(*inputs, items, weight, logits_dtype)
        value.mean().backward()
        lse = linear_logsumexp(*inputs, logits_dtype)
        found.append([lse, value.detach(), *(each.grad for each in inputs)])
    for exact, low in zip(*found, strict=True):
        assert low.dtype == torch.float32
        assert 0 < (low - exact).norm() < bound * exact.norm()


@pytest.mark.parametrize(
    ("features", "dtype"),
    [
        ({"avx512_f": True, "avx512_bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({}, torch.float32),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True}, torch.float32),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, torch.bfloat16),
        ({"cpu_name": "AMD Zen 4", "avx512_bf16": True}, torch.bfloat16),
    ],
)
def test_fast_products_of_a_processor(monkeypatch, features, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert fast_products("cpu") == dtype


def test_only_float32_is_lowered(world):
    """Who computes in float64 wants its digits."""
    assert torch.autograd.gradcheck(
        lambda *inputs: weighted_nll(*inputs, ACTIONS, WEIGHTS, torch.bfloat16), world
    )
    exact = linear_logsumexp(*world)
    torch.testing.assert_close(linear_logsumexp(*world, torch.bfloat16), exact, rtol=0, atol=0)
