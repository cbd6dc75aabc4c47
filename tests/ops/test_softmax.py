"""Against dense softmax arithmetic written out in NumPy or plain torch, in float64."""

import math

import numpy as np
import pytest
import torch
from data_factory import doubles

from recsys_posttrain import ops
from recsys_posttrain.eligibility import Excluded

TOKENS, ITEMS, WIDTH = 7, 5, 3
CHUNKS = pytest.mark.parametrize("chunk", [2, 7, 512])


@pytest.fixture
def world():
    """hidden [N, D], table [V, D], and a second pair that differs."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(TOKENS, WIDTH), (ITEMS, WIDTH)] * 2
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


def dense(hidden_ND, item_embedding_VD):
    """Probabilities [N, V] as NumPy."""
    weight = np.exp(hidden_ND.detach().numpy() @ item_embedding_VD.detach().numpy().T)
    return weight / weight.sum(axis=1, keepdims=True)


def test_masked_mean_by_hand():
    """(1 + 3) / 2; the masked infinity has no part in value or gradient; nothing real gives 0."""
    values = torch.tensor([1.0, math.inf, 3.0], requires_grad=True)
    mean = ops.masked_mean(values, torch.tensor([True, False, True]))
    mean.backward()
    assert mean.item() == 2
    assert values.grad.tolist() == [0.5, 0.0, 0.5]
    assert ops.masked_mean(values, torch.zeros(3, dtype=torch.bool)).item() == 0
    # Real zeros stay in the denominator: (0 + 0 + 3) / 3.
    assert ops.masked_mean(torch.tensor([0.0, 0.0, 3.0]), torch.ones(3, dtype=torch.bool)) == 1


@pytest.mark.parametrize("count", [3, 7, 1000, 4097])
def test_every_value_of_a_mean_has_the_same_gradient_to_the_bit(count):
    """1 / count, which the kernels wait for. It is also what a mean over padded values gave: in
    what order and groups they are added up changes no weight."""
    for mask in (None, torch.arange(count) % 3 > 0):
        values = torch.rand(count, requires_grad=True)
        ops.masked_mean(values, mask).backward()
        real = torch.ones(count) if mask is None else mask.float()
        assert torch.equal(values.grad, real * (torch.tensor(1.0) / real.sum()))


def test_logits_of_chosen_items(world):
    """Item ids count from 1. Gradient by finite differences."""
    items = torch.tensor([[1, 5], [2, 2], [3, 4], [5, 1], [4, 4], [1, 1], [2, 5]])
    hidden, table = world[:2]
    expected = [[float(hidden[n] @ table[v - 1]) for v in items[n]] for n in range(TOKENS)]
    found = ops.chosen_logits(hidden, table, items)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    inputs = [each.clone().requires_grad_() for each in (hidden, table)]
    assert torch.autograd.gradcheck(lambda h, t: ops.chosen_logits(h, t, items), inputs)


@CHUNKS
@pytest.mark.parametrize("recompute", [True, False])
def test_map_chunks(world, chunk, recompute):
    """Row sums of h * g for any chunk, with the gradient g in h, computed again or not."""
    hidden, other = world[0].clone().requires_grad_(), world[2]
    calls = []

    def product(hidden_CD, other_CD):
        calls.append(len(hidden_CD))
        return (hidden_CD * other_CD).sum(dim=1)

    value = ops.map_chunks(product, hidden, other, chunk=chunk, recompute=recompute)
    value.sum().backward()
    torch.testing.assert_close(value.detach(), (world[0] * other).sum(dim=1))
    torch.testing.assert_close(hidden.grad, other)
    assert max(calls) <= chunk
    assert sum(calls) == TOKENS * (2 if recompute else 1)


@pytest.mark.parametrize("block", [2, 64])
def test_samples_follow_the_distribution(monkeypatch, block):
    """100,000 draws from five shares: each within 5 standard deviations, ids from 1, and the
    logarithm of its share beside each draw."""
    monkeypatch.setattr("recsys_posttrain.ops.softmax.SAMPLING_BLOCK", block)
    share = torch.tensor([[0.1, 0.2, 0.3, 0.15, 0.25]], dtype=torch.float64)
    table, generator = torch.eye(5, dtype=torch.float64), torch.Generator().manual_seed(0)
    items, log_prob = ops.sample_items(share.log(), table, 100_000, generator)
    assert items.shape == (1, 100_000)
    found = torch.bincount(items[0], minlength=6) / 100_000
    assert found[0] == 0
    deviation = (share[0] * (1 - share[0]) / 100_000).sqrt()
    assert ((found[1:] - share[0]).abs() < 5 * deviation).all()
    torch.testing.assert_close(log_prob, share.log().gather(1, items - 1))


def test_samples_do_not_depend_on_the_chunk_and_never_have_no_probability(world):
    draws = [
        ops.sample_items(*world[:2], 50, torch.Generator().manual_seed(1), None, chunk)
        for chunk in (1, 3, 512)
    ]
    for other in draws[1:]:
        assert torch.equal(draws[0][0], other[0])
        torch.testing.assert_close(draws[0][1], other[1])
    hidden = torch.tensor([[-1e4, 0.0, -1e4]])
    sure, _ = ops.sample_items(hidden, torch.eye(3), 1000, torch.Generator().manual_seed(2))
    assert set(sure.flatten().tolist()) == {2}


def test_samples_of_logits_beyond_the_exponential():
    """Shares 3/4 and 1/4 at logits of about 200 in float32, the others have none: 2,000 draws
    within 5 standard deviations."""
    hidden = torch.tensor([[200.0, 200.0 - math.log(3), -200.0]])
    items, log_prob = ops.sample_items(hidden, torch.eye(3), 2000, torch.Generator().manual_seed(0))
    assert abs(float((items == 1).float().mean()) - 0.75) < 5 * (0.75 * 0.25 / 2000) ** 0.5
    assert set(items.flatten().tolist()) == {1, 2}
    expected = torch.tensor([0.75, 0.25]).log()[items - 1]
    torch.testing.assert_close(log_prob, expected, rtol=0, atol=2**-15)  # half a step of 200


def test_samples_of_nan_are_items_and_say_so():
    """The loss is then NaN, which training explains in a sentence."""
    hidden = torch.tensor([[math.nan, 0.0, 0.0]])
    items, log_prob = ops.sample_items(hidden, torch.eye(3), 5, torch.Generator().manual_seed(0))
    assert set(items.flatten().tolist()) <= {1, 2, 3}
    assert log_prob.isnan().all()


@pytest.mark.parametrize(("uniform", "item"), [(0.0, 2), (1.0, 4)])
@pytest.mark.parametrize("block", [2, 64])
def test_extreme_uniforms_find_an_item_with_a_probability(monkeypatch, uniform, item, block):
    """Of five items the first and the last have none."""
    rand = lambda *shape, dtype, **_: torch.full(shape, uniform, dtype=dtype)  # noqa: E731
    monkeypatch.setattr(torch, "rand", rand)
    monkeypatch.setattr("recsys_posttrain.ops.softmax.SAMPLING_BLOCK", block)
    hidden = torch.tensor([[-1e4, 0.0, 0.0, 0.0, -1e4]])
    items, log_prob = ops.sample_items(hidden, torch.eye(5), 2, torch.Generator())
    assert items.tolist() == [[item, item]]
    torch.testing.assert_close(log_prob, torch.full((1, 2), -math.log(3)))


@CHUNKS
def test_expected_score(world, chunk):
    generator = torch.Generator().manual_seed(3)
    state = torch.randn(TOKENS, 2, generator=generator, dtype=torch.float64)
    factor = torch.randn(ITEMS, 2, generator=generator, dtype=torch.float64)
    expected = (dense(*world[:2]) * (state.numpy() @ factor.numpy().T)).sum(axis=1)
    found = ops.expected_score(*world[:2], state, factor, chunk)
    torch.testing.assert_close(found, torch.from_numpy(expected))


@CHUNKS
def test_kl_and_entropy(world, chunk):
    pi, other = dense(*world[:2]), dense(*world[2:])
    kl, entropy = (pi * np.log(pi / other)).sum(axis=1), -(pi * np.log(pi)).sum(axis=1)
    expected = torch.from_numpy(np.stack([kl, entropy], axis=1))
    torch.testing.assert_close(ops.kl_and_entropy(*world, chunk), expected)


def test_kl_to_itself_is_zero_and_a_uniform_entropy_is_log_v(world):
    flat = torch.zeros(1, WIDTH, dtype=torch.float64)
    found = ops.kl_and_entropy(flat, world[1], world[0][:1], world[1] * 0)
    torch.testing.assert_close(found, doubles([0.0, math.log(ITEMS)]))


@pytest.mark.parametrize("logits_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spread", [1.0, 30.0])
@pytest.mark.parametrize("excluded", [None, Excluded(torch.arange(1, 19), torch.arange(10) * 2)])
def test_the_fused_sample_is_that_of_its_parts(spread, logits_dtype, excluded):
    """The same items and log pi to the bit. The expectation is that of a loop in float64 over the
    same logits, of rewards around 100 with a spread of 1, which bfloat16 alone would round by .25.
    spread: of the logits; at 30 the exponentials leave float32."""
    generator = torch.Generator().manual_seed(0)
    hidden_ND, item_embedding_VD, state_NR, factor_VR = (
        torch.randn(*shape, generator=generator) for shape in ((9, 4), (70, 4), (9, 3), (70, 3))
    )
    hidden_ND, state_NR[:, 0], factor_VR[:, 0] = spread * hidden_ND, 1.0, factor_VR[:, 0] + 100
    world = hidden_ND, item_embedding_VD, 5
    items, log_prob, expected_N = ops.sample_and_expect(
        *world, torch.Generator().manual_seed(3), state_NR, factor_VR, logits_dtype, 4, excluded
    )
    parts = ops.sample_items(
        *world, torch.Generator().manual_seed(3), logits_dtype, 4, excluded=excluded
    )
    assert torch.equal(items, parts[0])
    assert torch.equal(log_prob, parts[1])
    low_ND, low_VD = (each.to(logits_dtype) for each in (hidden_ND, item_embedding_VD))
    logits_NV = (low_ND @ low_VD.T).double()
    if excluded is not None:  # position n excludes items 2n + 1 and 2n + 2
        logits_NV[torch.arange(18) // 2, torch.arange(18)] = -math.inf
    pi_NV = logits_NV.softmax(dim=1)
    reward_NV = state_NR.double() @ factor_VR.double().T
    error_N = (expected_N - (pi_NV * reward_NV).sum(dim=1)).abs()
    assert error_N.max() < (1e-4 if logits_dtype == torch.float32 else 0.03)


@pytest.mark.parametrize("function", ["sample_items", "expected_score", "kl_and_entropy"])
def test_measurements_carry_no_gradient(world, function):
    inputs = [each.clone().requires_grad_() for each in world]
    given = {
        "sample_items": [*inputs[:2], 2, torch.Generator()],
        "expected_score": [*inputs[:2], *inputs[:2]],
        "kl_and_entropy": inputs,
    }
    result = getattr(ops, function)(*given[function])
    assert not (result[1] if isinstance(result, tuple) else result).requires_grad
