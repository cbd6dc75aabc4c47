"""Draws against the enumeration of all of them, and the look-up's gradient against a dense one."""

from collections import Counter
from fractions import Fraction

import pytest
import torch

from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.losses.negatives import (
    Negatives,
    candidates,
    draw,
    excluded_draws,
    proposal,
)

TENTHS = [Fraction(n, 10) for n in (1, 2, 3, 4)]


def generator_of(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("exponent", "weights"), [(0.0, [1, 1, 1]), (0.5, [1, 2, 3]), (1.0, [1, 4, 9])]
)
def test_proposal_by_hand(exponent, weights):
    """Counts 0, 3 and 8 plus one; an item that training never saw can be drawn."""
    share_V = proposal(torch.tensor([0, 3, 8]), exponent)
    expected = torch.tensor(weights, dtype=torch.float64)
    torch.testing.assert_close(share_V, expected / expected.sum())


def test_the_enumeration_by_hand(enumerated):
    """Two draws from (1/4, 3/4): the first half is item 1 or 2 evenly, the second is item 2."""
    share = [Fraction(1, 4), Fraction(3, 4)]
    assert dict(enumerated(share, 2)) == {(1, 2): Fraction(1, 2), (2, 2): Fraction(1, 2)}


@pytest.mark.parametrize("number", [1, 3, 5])
def test_every_item_is_drawn_as_often_as_its_share_says(enumerated, number):
    """Exactly K q(v) times in expectation, over all draws; and `expected_K` says so."""
    mean = Counter()
    for items, probability in enumerated(TENTHS, number):
        for item in items:
            mean[item] += probability
    assert [mean[v] for v in range(1, 5)] == [number * share for share in TENTHS]
    share_V = torch.tensor(TENTHS, dtype=torch.float64)
    drawn = draw(share_V, number, generator_of(0))
    told = [float(number * TENTHS[item - 1]) for item in drawn.items_K.tolist()]
    assert drawn.expected_K.tolist() == pytest.approx(told)


def test_draws_have_the_enumerated_frequencies(enumerated):
    """Within 5 standard errors of each probability, and nothing else is ever drawn."""
    share_V, times, generator = torch.tensor(TENTHS, dtype=torch.float64), 4000, generator_of(0)
    found = Counter(tuple(draw(share_V, 3, generator).items_K.tolist()) for _ in range(times))
    expected = {items: float(probability) for items, probability in enumerated(TENTHS, 3)}
    assert set(found) <= set(expected)
    for items, probability in expected.items():
        error = (probability * (1 - probability) / times) ** 0.5
        assert abs(found[items] / times - probability) <= 5 * error, items


def test_as_many_uniform_draws_as_items_are_the_catalogue():
    share_V = proposal(torch.zeros(1000), 0.0)
    assert draw(share_V, 1000, generator_of(0)).items_K.tolist() == list(range(1, 1001))
    twice = draw(share_V, 2000, generator_of(0)).items_K.tolist()
    assert twice == sorted(2 * list(range(1, 1001)))


def test_draws_are_a_function_of_the_generator():
    share_V = proposal(torch.arange(1000), 0.5)
    first, same, other = (draw(share_V, 50, generator_of(n)).items_K for n in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_draw_is_excluded_where_its_item_is():
    """Draws 1 and 2 are of item 2, draw 3 is of item 5; items 1, 3 and 4 were not drawn."""
    excluded = Excluded(torch.tensor([5, 3, 2, 5, 1]), torch.tensor([0, 1, 4, 5]))
    excluded = excluded._replace(everywhere_M=torch.tensor([4, 2]))
    found = excluded_draws(excluded, torch.tensor([2, 2, 5]), 6)
    assert found.items_E.tolist() == [3, 1, 2, 3]
    assert found.offsets_N1.tolist() == [0, 1, 4, 4]
    assert found.everywhere_M.tolist() == [1, 2]


def test_vectors_are_rows_of_the_table_and_so_is_their_gradient(world):
    """Rows 2, 3, 5, 3 are logged and 3, 9 drawn; the history's look-up makes the sum dense."""
    policy, batch = world.policy, world.batch
    found = candidates(policy, batch, Negatives(torch.tensor([3, 9]), torch.ones(2)))
    assert found.items_N.tolist() == [2, 3, 5, 3]
    item_embedding_VD = policy.item_embedding_VD.detach()
    assert torch.equal(found.chosen_ND, item_embedding_VD[[1, 2, 4, 2]])
    assert torch.equal(found.negative_KD, item_embedding_VD[[2, 8]])
    weight = policy.backbone.item_embedding.weight
    (alone,) = torch.autograd.grad(found.chosen_ND.sum() + 10 * found.negative_KD.sum(), weight)
    assert alone.is_sparse
    assert alone.to_dense()[:, 0].tolist() == [0, 0, 1, 12, 0, 1, 0, 0, 0, 10]
    again = candidates(policy, batch, Negatives(torch.tensor([3, 9]), torch.ones(2)))
    (policy.hidden_states(batch).sum() + again.negative_KD.sum()).backward()
    assert not weight.grad.is_sparse
    assert torch.equal(weight.grad[9], torch.ones(4))
