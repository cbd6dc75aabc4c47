"""Ranks and lists against a full sort done slowly in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.ranking import BLOCK, ranks_and_lists, target_ranks, top_items


def jagged(lists):
    flat = [item for row in lists for item in row]
    offsets = np.cumsum([0, *map(len, lists)])
    return Excluded(torch.tensor(flat, dtype=torch.int64), torch.tensor(offsets))


def sorted_places(score_V, seen, keep=None):
    """Unseen ids by falling score, lower id first."""
    ids = [v for v in range(1, len(score_V) + 1) if v not in seen or v == keep]
    return sorted(ids, key=lambda v: (-score_V[v - 1], v))


def slow_rank(score_V, target, seen):
    places = sorted_places(score_V, seen, keep=target)
    same = [i + 1 for i, v in enumerate(places) if score_V[v - 1] == score_V[target - 1]]
    return (same[0] + same[-1]) / 2  # the middle of the tied places


def integers(rng, shape, high=3):
    """Small integers: products are exact in any order and ties are many."""
    return torch.tensor(rng.integers(-high, high + 1, shape), dtype=torch.float32)


def test_ranks_by_hand():
    table = torch.tensor([[4.0], [3.0], [3.0], [1.0], [9.0]])
    states = torch.ones(5, 1)
    #      no history; tie; top item seen; target itself seen; repeated history
    seen = jagged([[], [], [5, 1], [4, 5], [5, 5, 2]])
    targets = torch.tensor([1, 2, 2, 4, 3])
    ranks = target_ranks(states, table, targets, seen)
    assert ranks.dtype == torch.float64
    assert ranks.tolist() == [2.0, 3.5, 1.5, 4.0, 2.0]


def test_bias_moves_the_rank():
    table, bias = torch.zeros(3, 2), torch.tensor([0.0, 2.0, 1.0])
    seen = jagged([[], [], []])
    ranks = target_ranks(torch.ones(3, 2), table, torch.tensor([1, 2, 3]), seen, item_bias_V=bias)
    assert ranks.tolist() == [3.0, 1.0, 2.0]


def test_a_constant_model_ranks_everything_in_the_middle():
    seen = jagged([[], [1, 2]])
    ranks = target_ranks(torch.zeros(2, 3), torch.ones(9, 3), torch.tensor([9, 9]), seen)
    assert ranks.tolist() == [5.0, 4.0]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 2 * BLOCK + 5),
    num_items=st.integers(1, 150),
    part=st.floats(0, 1),
    chunk=st.integers(1, 3 * BLOCK),
)
def test_matches_a_full_sort_with_ties(seed, rows, num_items, part, chunk):
    rng = np.random.default_rng(seed)
    states, table = integers(rng, (rows, 2)), integers(rng, (num_items, 2))
    targets = rng.integers(1, num_items + 1, rows)
    lists = [rng.integers(1, num_items + 1, rng.integers(0, 6)).tolist() for _ in range(rows)]
    never = rng.permutation(num_items)[: rng.integers(0, 3)] + 1  # shown to nobody
    scores = states.numpy() @ table.numpy().T
    k = max(1, round(part * num_items))
    seen = jagged(lists)._replace(everywhere_M=torch.tensor(never))
    ranks, items, best = ranks_and_lists(states, table, torch.tensor(targets), k, seen, chunk=chunk)
    for n, history in enumerate(lists):
        left_out = {*history, *never.tolist()}
        assert ranks[n] == slow_rank(scores[n], targets[n], left_out)
        expected = sorted_places(scores[n], left_out)[:k]
        empty = k - len(expected)
        assert items[n].tolist() == expected + [0] * empty
        assert best[n].tolist() == [scores[n][v - 1] for v in expected] + [-np.inf] * empty


@pytest.mark.parametrize(("num_items", "k"), [(997, 10), (997, 50), (3416, 50), (60, 50)])
def test_matches_a_dense_sort_with_few_ties(num_items, k):
    """Ranks and lists from one pass are those from a pass each, and those of NumPy. Products of
    multiples of 1/64 are exact in any order."""
    generator = torch.Generator().manual_seed(k)
    states, table = (
        (64 * torch.randn(rows, 64, generator=generator)).round() / 64 for rows in (300, num_items)
    )
    targets = torch.randint(1, num_items + 1, (300,), generator=generator)
    had = torch.randint(1, num_items + 1, (300 * 9,), generator=generator)
    seen = Excluded(had, torch.arange(0, 300 * 9 + 1, 9))
    ranks, items, best = ranks_and_lists(states, table, targets, k, seen)
    assert torch.equal(ranks, target_ranks(states, table, targets, seen))
    for both, alone in zip((items, best), top_items(states, table, k, seen), strict=True):
        assert torch.equal(both, alone)
    scores = states.numpy() @ table.numpy().T
    row, target = np.arange(300), targets.numpy() - 1
    own = scores[row, target]
    np.put_along_axis(scores, had.numpy().reshape(300, 9) - 1, -np.inf, axis=1)
    others = scores.copy()
    others[row, target] = np.nan  # neither above nor beside itself
    above, same = ((f(others, own[:, None])).sum(1) for f in (np.greater, np.equal))
    assert ranks.tolist() == (1 + above + same / 2).tolist()
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert best.tolist() == np.take_along_axis(scores, order, axis=1).tolist()
    assert items.tolist() == np.where(best == -np.inf, 0, order + 1).tolist()


def test_the_smallest_and_largest_differences_count():
    """3e-45 is above 1e-45, though both are subnormal; 3e38 less -3e38 is more than float32 has."""
    table = torch.tensor([[1e-45], [3e-45], [0.0], [3e38], [-3e38]])
    targets = torch.tensor([1, 2, 3, 4, 5])
    ranks = target_ranks(torch.ones(5, 1), table, targets, jagged([[]] * 5))
    assert ranks.tolist() == [3.0, 2.0, 4.0, 1.0, 5.0]


@pytest.mark.parametrize("rows", [1, 3, BLOCK, BLOCK + 1, 700])
def test_any_chunk_size_gives_the_same_bits(rows):
    generator = torch.Generator().manual_seed(rows)
    states = torch.randn(rows, 64, generator=generator)
    table = torch.randn(997, 64, generator=generator)
    table[501:] = table[3:499]  # items that cannot be told apart must tie
    targets = torch.randint(1, 998, (rows,), generator=generator)
    seen = torch.randint(1, 998, (rows * 7,), generator=generator)
    seen = Excluded(seen, torch.arange(0, rows * 7 + 1, 7))
    whole = ranks_and_lists(states, table, targets, 20, seen, chunk=10_000)
    for chunk in (1, 2, 7, 127, 129, 512):
        again = ranks_and_lists(states, table, targets, 20, seen, chunk=chunk)
        assert all(map(torch.equal, whole, again))


def test_duplicated_items_tie_wherever_they_stand():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(1, 50, generator=generator).expand(1003, 50)
    states = torch.randn(9, 50, generator=generator)
    seen = jagged([[]] * 9)
    ranks = target_ranks(states, table, torch.arange(1, 1000, 111), seen)
    assert ranks.tolist() == [502.0] * 9


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    states = torch.ones(3, 2)
    states[1, 0] = bad
    seen = jagged([[], [], []])
    with pytest.raises(UserError, match="not finite"):
        target_ranks(states, torch.ones(4, 2), torch.ones(3, dtype=torch.int64), seen)
    with pytest.raises(UserError, match="not finite"):
        top_items(states, torch.ones(4, 2), 1, seen)


def test_ids_outside_the_catalogue_and_bad_shapes_are_refused():
    seen = jagged([[], []])
    states, table = torch.ones(2, 1), torch.ones(4, 1)
    for target in (0, 5):
        with pytest.raises(UserError, match="catalogue"):
            target_ranks(states, table, torch.tensor([1, target]), seen)
    with pytest.raises(UserError, match=r"seen item ids are 5\.\.5"):
        target_ranks(states, table, torch.tensor([1, 1]), jagged([[5], []]))
    with pytest.raises(UserError, match="k is 5"):
        top_items(states, table, 5, seen)
    with pytest.raises(ValueError, match="offsets"):
        target_ranks(
            states, table, torch.tensor([1, 1]), Excluded(seen.items_E, seen.offsets_N1[:-1])
        )
