"""Items that are excluded everywhere, as one block, against the same items listed row by row."""

import pytest
import torch

from recsys_posttrain import ops
from recsys_posttrain.eligibility import Excluded, leave_out
from recsys_posttrain.losses.negatives import excluded_draws
from recsys_posttrain.ops.log_prob import log_prob, loss_of_log_prob
from recsys_posttrain.ops.logsumexp import linear_logsumexp, weighted_nll

ITEMS, WIDTH = 6, 3
LISTS = [[2], [1, 1, 5], [], [1, 3], [4]]
MASK = [2, 5]
ACTIONS = [2, 4, 5, 2, 1]  # three of a masked item
CHUNKS = pytest.mark.parametrize("chunk", [1, 2, 512])


def of_lists(lists):
    ends = torch.tensor([0] + [len(each) for each in lists]).cumsum(dim=0)
    return Excluded(torch.tensor([v for each in lists for v in each]), ends)


ACTION_N = torch.tensor(ACTIONS)
WITHOUT_OWN = [[v for v in each if v != a] for each, a in zip(LISTS, ACTIONS, strict=True)]
SHARED = of_lists(WITHOUT_OWN)._replace(everywhere_M=torch.tensor(MASK), but_N=ACTION_N)
PAIRS = of_lists([sorted({*each, *MASK} - {a}) for each, a in zip(LISTS, ACTIONS, strict=True)])


@CHUNKS
def test_every_kernel_reads_the_block_as_pairs(states_and_table, chunk):
    """To the bit, gradients too."""
    world = states_and_table(len(LISTS), ITEMS, WIDTH)
    items_NK = torch.stack([ACTION_N, torch.tensor([6, 6, 1, 6, 3])], dim=1)
    kernels = [
        lambda e: weighted_nll(*world, ACTION_N, torch.ones(5).double(), None, chunk, e),
        lambda e: log_prob(*world, items_NK, None, chunk, e).sum(dim=1),
        lambda e: loss_of_log_prob(
            *world, items_NK, lambda p: p.exp().sum(dim=1), chunk=chunk, excluded=e
        )[0],
    ]
    for kernel in kernels:
        found = []
        for excluded in (SHARED, PAIRS):
            for each in world:
                each.grad = None
            value_N = kernel(excluded)
            value_N.sum().backward()
            found.append([value_N.detach(), *(each.grad.clone() for each in world)])
        for shared, listed in zip(*found, strict=True):
            assert torch.equal(shared, listed)
    hidden, table = (each.detach() for each in world)
    for of in (
        lambda e: linear_logsumexp(hidden, table, None, chunk, e),
        lambda e: ops.kl_and_entropy(hidden, table, -hidden, table, chunk, e),
        lambda e: ops.expected_score(hidden, table, hidden, table, chunk, e),
        lambda e: ops.sample_items(
            hidden, table, 50, torch.Generator().manual_seed(0), None, chunk, e
        )[0],
    ):
        assert torch.equal(of(SHARED), of(PAIRS))


def test_by_hand():
    """Item 2 leaves both rows and item 3 the second alone, whose own item it is not."""
    excluded = Excluded(
        torch.tensor([1]), torch.tensor([0, 1, 1]), torch.tensor([2, 3]), torch.tensor([3, 4])
    )
    found = leave_out(torch.arange(8.0).view(2, 4), excluded, -1.0)
    assert found.tolist() == [[-1, -1, 2, 3], [4, -1, -1, 7]]
    last = leave_out(torch.zeros(1, 4), excluded.rows(slice(1, 2)), 1.0)
    assert last.tolist() == [[0, 1, 1, 0]]
    second = excluded.every(2)
    assert (second.but_N.tolist(), second.everywhere_M.tolist()) == ([3], [2, 3])


def test_the_gradient_of_a_kept_item_is_its_own():
    values = torch.ones(1, 3, requires_grad=True)
    excluded = Excluded(
        torch.tensor([], dtype=torch.int64), torch.tensor([0, 0]), torch.tensor([1, 2])
    )
    leave_out(values * 1, excluded._replace(but_N=torch.tensor([2])), 0.0).sum().backward()
    assert values.grad.tolist() == [[0, 1, 1]]


def test_draws_of_masked_items_drop():
    """Draws 1..5 are of items 1 2 2 4 6; 2 and 6 are masked, and item 1 is excluded in row 0."""
    excluded = Excluded(torch.tensor([1]), torch.tensor([0, 1, 1]), torch.tensor([2, 6]), ACTION_N)
    found = excluded_draws(excluded, torch.tensor([1, 2, 2, 4, 6]), 7)
    dropped = leave_out(torch.ones(2, 5), found, 0.0)
    assert dropped.tolist() == [[0, 0, 0, 1, 0], [1, 0, 0, 1, 0]]
