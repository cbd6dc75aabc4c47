"""Against dense softmax arithmetic written out in NumPy or plain torch, in float64."""

import math

import numpy as np
import pytest
import torch

from recsys_posttrain import ops

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
    nothing = ops.masked_mean(values, torch.zeros(3, dtype=torch.bool))
    assert nothing.item() == 0


def test_masked_mean_does_not_count_by_value():
    """Real zeros stay in the denominator: (0 + 0 + 3) / 3."""
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
    items, log_prob = ops.sample_items(
        share.log(), torch.eye(5, dtype=torch.float64), 100_000, torch.Generator().manual_seed(0)
    )
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
    items, log_prob = ops.sample_items(
        torch.tensor([[math.nan, 0.0, 0.0]]), torch.eye(3), 5, torch.Generator().manual_seed(0)
    )
    assert set(items.flatten().tolist()) <= {1, 2, 3}
    assert log_prob.isnan().all()


class _Uniform:
    """Stands in for torch.rand: the extreme draws."""

    def __init__(self, value):
        self.value = value

    def __call__(self, *shape, **options):
        return torch.full(shape, self.value, dtype=options["dtype"])


@pytest.mark.parametrize(("uniform", "item"), [(0.0, 2), (1.0, 4)])
@pytest.mark.parametrize("block", [2, 64])
def test_extreme_uniforms_find_an_item_with_a_probability(monkeypatch, uniform, item, block):
    """Of five items the first and the last have none."""
    monkeypatch.setattr(torch, "rand", _Uniform(uniform))
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
    expected = np.stack(
        [(pi * np.log(pi / other)).sum(axis=1), -(pi * np.log(pi)).sum(axis=1)], axis=1
    )
    torch.testing.assert_close(ops.kl_and_entropy(*world, chunk), torch.from_numpy(expected))


def test_kl_to_itself_is_zero_and_a_uniform_entropy_is_log_v(world):
    kl_and_entropy = ops.kl_and_entropy(
        torch.zeros(1, WIDTH, dtype=torch.float64), world[1], world[0][:1], world[1] * 0
    )
    expected = torch.tensor([[0.0, math.log(ITEMS)]], dtype=torch.float64)
    torch.testing.assert_close(kl_and_entropy, expected)


@pytest.mark.parametrize("function", ["sample_items", "expected_score", "kl_and_entropy"])
def test_measurements_carry_no_gradient(world, function):
    inputs = [each.clone().requires_grad_() for each in world]
    if function == "sample_items":
        _, result = ops.sample_items(*inputs[:2], 2, torch.Generator())
    elif function == "expected_score":
        result = ops.expected_score(*inputs[:2], inputs[0], inputs[1])
    else:
        result = ops.kl_and_entropy(*inputs)
    assert not result.requires_grad
