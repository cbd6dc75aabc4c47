"""Items that are not eligible, in every kernel, against a dense softmax with -inf in float64."""

import math

import pytest
import torch
from data_factory import doubles

from recsys_posttrain import ops
from recsys_posttrain.eligibility import Excluded, excluded_spans, leave_out
from recsys_posttrain.ops.log_prob import log_prob, loss_of_log_prob
from recsys_posttrain.ops.logsumexp import linear_logsumexp, weighted_nll

TOKENS, ITEMS, WIDTH = 7, 5, 3
# None, some, one twice, and all but one.
LISTS = [[2], [1, 1, 5], [], [1, 3, 4, 5], [4], [5, 2], [3, 1]]
ACTIONS = torch.tensor([1, 4, 2, 2, 3, 4, 5])
ITEMS_NK = torch.tensor([[1, 5], [2, 2], [3, 4], [2, 2], [1, 5], [1, 3], [2, 5]])  # all eligible
WEIGHTS = doubles(1.0, 0.5, -2.0, 3.0, 0.0, 1.5, 0.25)
TARGET_NK = torch.linspace(-3, 1, 2 * TOKENS, dtype=torch.float64).view(TOKENS, 2)
CHUNKS = pytest.mark.parametrize("chunk", [1, 2, 7, 512])


def of_lists(lists):
    lengths = torch.tensor([0] + [len(each) for each in lists])
    return Excluded(
        torch.tensor([v for each in lists for v in each], dtype=torch.int64), lengths.cumsum(dim=0)
    )


EXCLUDED = of_lists(LISTS)


@pytest.fixture
def world(states_and_table):
    return states_and_table(TOKENS, ITEMS, WIDTH)


def dense(hidden, table, lists=LISTS):
    """log pi [N, V]: -inf one by one, and the softmax that torch has."""
    logits = hidden @ table.T
    mask = torch.tensor([[v in each for v in range(1, len(table) + 1)] for each in lists])
    return logits.masked_fill(mask, -math.inf).log_softmax(dim=1)


def loss_of(log_prob_NK, target_NK):
    """Neither linear nor symmetric in the two items."""
    error_NK = (log_prob_NK - target_NK).exp() * torch.tensor([1.0, 0.3], dtype=target_NK.dtype)
    return error_NK.sum(dim=1)


def dense_weighted(hidden, table):
    return -WEIGHTS * dense(hidden, table).gather(1, ACTIONS[:, None] - 1)[:, 0]


def dense_chosen(hidden, table):
    return dense(hidden, table).gather(1, ITEMS_NK - 1)


LOSSES = {
    "weighted_nll": (
        lambda h, t, c: weighted_nll(h, t, ACTIONS, WEIGHTS, None, c, EXCLUDED),
        dense_weighted,
    ),
    "log_prob": (
        lambda h, t, c: loss_of(log_prob(h, t, ITEMS_NK, None, c, EXCLUDED), TARGET_NK),
        lambda h, t: loss_of(dense_chosen(h, t), TARGET_NK),
    ),
    "loss_of_log_prob": (
        lambda h, t, c: loss_of_log_prob(
            h, t, ITEMS_NK, loss_of, TARGET_NK, chunk=c, excluded=EXCLUDED
        )[0],
        lambda h, t: loss_of(dense_chosen(h, t), TARGET_NK),
    ),
}


def slopes(function, world, weight):
    for each in world:
        each.grad = None
    value = function(*world)
    (weight * value).sum().backward()
    return [value.detach(), *(each.grad for each in world)]


@CHUNKS
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("upstream", ["equal", "different"])
def test_value_and_gradient_of_losses(world, name, upstream, chunk):
    """As of a mean, with gradients from forward, and of other sums, with logits computed again."""
    weight = {"equal": torch.full((TOKENS,), 0.3), "different": torch.arange(1.0, TOKENS + 1)}
    ours, expected = LOSSES[name]
    found = slopes(lambda h, t: ours(h, t, chunk), world, weight[upstream].double())
    torch.testing.assert_close(found, slopes(expected, world, weight[upstream].double()))


@CHUNKS
def test_sums_without_a_gradient(world, chunk):
    hidden, table = (each.detach() for each in world)
    eligible = dense(hidden, table)
    lse = (hidden @ table.T)[:, 1] - dense(hidden, table, [[]] * TOKENS)[:, 1]  # of everything
    missing = torch.tensor(
        [
            sum(math.exp(dense(hidden, table, [[]] * TOKENS)[n, v - 1]) for v in set(each))
            for n, each in enumerate(LISTS)
        ],
        dtype=torch.float64,
    )
    expected = lse + (1 - missing).log()
    torch.testing.assert_close(linear_logsumexp(hidden, table, None, chunk, EXCLUDED), expected)
    generator = torch.Generator().manual_seed(3)
    state, factor, other_hidden, other_table = (
        torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64)
        for rows in (TOKENS, ITEMS, TOKENS, ITEMS)
    )
    pi = eligible.exp()
    score = ops.expected_score(hidden, table, state, factor, chunk, EXCLUDED)
    torch.testing.assert_close(score, (pi * (state @ factor.T)).sum(dim=1))
    other = dense(other_hidden, other_table)
    kl = [
        sum(pi[n, v] * (eligible[n, v] - other[n, v]) for v in range(ITEMS) if pi[n, v] > 0)
        for n in range(TOKENS)
    ]
    entropy = [-sum(p * p.log() for p in row if p > 0) for row in pi]
    found = ops.kl_and_entropy(hidden, table, other_hidden, other_table, chunk, EXCLUDED)
    torch.testing.assert_close(found, torch.tensor([kl, entropy], dtype=torch.float64).T)


@CHUNKS
@pytest.mark.parametrize("block", [2, 64])
def test_samples_by_enumeration_of_the_uniform(world, monkeypatch, block, chunk):
    """1,000 evenly spaced uniforms give each item 1,000 pi of the draws, but for one at each end of
    its interval; an excluded item none; beside each draw its log pi."""
    even_K = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    monkeypatch.setattr(torch, "rand", lambda rows, count, **_: even_K.expand(rows, count))
    monkeypatch.setattr("recsys_posttrain.ops.softmax.SAMPLING_BLOCK", block)
    items, found = ops.sample_items(*world, 1000, torch.Generator(), None, chunk, EXCLUDED)
    expected = dense(*world).detach()
    torch.testing.assert_close(found, expected.gather(1, items - 1))
    for n, row in enumerate(items):
        count = torch.bincount(row, minlength=ITEMS + 1)[1:]
        assert ((count - 1000 * expected[n].exp()).abs() <= 1).all()
        assert not set(row.tolist()) & set(LISTS[n])


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_an_excluded_item_of_the_largest_logit(scale):
    """Items at logits (s, -s, -s) in float32, the first of them excluded: each other has 1/2. The
    state gains nothing, 1/2 e_2 + 1/2 e_3 - e_2 = 0, and the first vector has no gradient."""
    hidden = torch.full((2, 1), scale, requires_grad=True)
    table = torch.tensor([[1.0], [-1.0], [-1.0]], requires_grad=True)
    excluded, chosen = of_lists([[1], [1, 1]]), torch.tensor([[2], [3]])
    half, step = math.log(2), 2**-22 * scale  # rounding of a logit, and so of a probability
    for weight in (torch.ones(2), torch.tensor([1.0, 2.0])):
        for value in (
            weighted_nll(hidden, table, chosen[:, 0], torch.ones(2), excluded=excluded),
            -log_prob(hidden, table, chosen, excluded=excluded)[:, 0],
            loss_of_log_prob(hidden, table, chosen, lambda p: -p[:, 0], excluded=excluded)[0],
        ):
            hidden.grad = table.grad = None
            torch.testing.assert_close(value.detach(), torch.full((2,), half), rtol=0, atol=step)
            (weight * value).sum().backward()
            torch.testing.assert_close(hidden.grad, torch.zeros(2, 1), atol=2 * step, rtol=0)
            first = scale / 2 * (weight[1] - weight[0])
            expected = torch.tensor([[0.0], [first], [-first]])
            torch.testing.assert_close(table.grad, expected, atol=2 * step * scale, rtol=0)
            assert table.grad[0] == 0
    items, log_pi = ops.sample_items(
        hidden, table, 100, torch.Generator().manual_seed(0), excluded=excluded
    )
    assert set(items.flatten().tolist()) == {2, 3}
    torch.testing.assert_close(log_pi, torch.full((2, 100), -half), rtol=0, atol=step)
    kl, entropy = ops.kl_and_entropy(hidden, table, -hidden, table, excluded=excluded).T
    torch.testing.assert_close(kl, torch.zeros(2))
    torch.testing.assert_close(entropy, torch.full((2,), half), rtol=0, atol=step)


def test_one_eligible_item_is_certain():
    """log pi 0, gradient 0, every draw that item, entropy and KL 0, and its own reward."""
    hidden = torch.tensor([[2.0], [-500.0]], requires_grad=True)
    table = torch.tensor([[3.0], [1.0], [-4.0]], requires_grad=True)
    excluded, only = of_lists([[1, 3], [2, 3]]), torch.tensor([[2], [1]])
    found = log_prob(hidden, table, only, excluded=excluded)
    found.sum().backward()
    for each in (found.detach(), hidden.grad, table.grad):
        torch.testing.assert_close(each, torch.zeros_like(each))
    items, log_pi = ops.sample_items(hidden, table, 9, torch.Generator(), excluded=excluded)
    assert torch.equal(items, only.expand(2, 9))
    assert not log_pi.any()
    measured = ops.kl_and_entropy(hidden, table, hidden + 1, table, excluded=excluded)
    torch.testing.assert_close(measured, torch.zeros(2, 2))
    rewards = torch.tensor([[5.0], [7.0], [9.0]])
    score = ops.expected_score(hidden, table, torch.ones(2, 1), rewards, excluded=excluded)
    assert score.tolist() == [7, 5]


def test_a_position_where_nothing_is_eligible_says_so_and_leaves_the_others_alone():
    hidden, table = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.0], [0.0]])
    excluded = of_lists([[1, 2], [1]])
    lse = linear_logsumexp(hidden, table, excluded=excluded)
    score = ops.expected_score(hidden, table, hidden, table + 3, excluded=excluded)
    kl = ops.kl_and_entropy(hidden, table, hidden, table, excluded=excluded)
    for each, other in ((lse, [0.0]), (score, [3.0]), (kl, [0.0, 0.0])):
        assert each[0].isnan().all()
        assert each[1].flatten().tolist() == other


def test_log_pi_of_an_excluded_item_is_finite():
    """Nothing asks for it: its logit, 5, less log(e^1 + e^1) of the two eligible items."""
    table = torch.tensor([[5.0], [1.0], [1.0]])
    found = log_prob(torch.ones(1, 1), table, torch.tensor([[1]]), excluded=of_lists([[1]]))
    assert found.item() == pytest.approx(5 - 1 - math.log(2))


def test_spans_rows_and_every_second_row():
    spans = excluded_spans(
        torch.tensor([7, 8, 9]), torch.tensor([0, 0, 2]), torch.tensor([2, 0, 1])
    )
    assert (spans.items_E.tolist(), spans.offsets_N1.tolist()) == ([7, 8, 9], [0, 2, 2, 3])
    kept = leave_out(torch.ones(2, 9), spans.rows(slice(1, 3)), 0.0)
    assert kept.tolist() == [[1] * 9, [1] * 8 + [0]]
    second = EXCLUDED.every(2)
    assert second.offsets_N1.tolist() == [0, 1, 1, 2, 4]
    assert second.items_E.tolist() == [2, 4, 3, 1]
