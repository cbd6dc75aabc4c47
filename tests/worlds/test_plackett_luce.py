"""Draws without replacement against the softmax over what is left, one draw at a time."""

from itertools import permutations

import numpy as np
import pytest

from recsys_posttrain.worlds.plackett_luce import draw_without_replacement

LOGITS = np.array([0.3, -1.0, 1.2, 0.0])


def probability(drawn, logits=LOGITS):
    """Of each draw, given those before it."""
    left, found = dict(enumerate(np.exp(logits))), []
    for index in drawn:
        found.append(left[index] / sum(left.values()))
        del left[index]
    return found


@pytest.mark.parametrize("length", [1, 3, 4])
def test_propensities_are_those_of_one_draw_after_another(length):
    generator = np.random.default_rng(1)
    logit_NV = generator.normal(scale=3, size=(50, 6))
    draws = draw_without_replacement(logit_NV, length, generator)
    assert draws.index_NL.shape == draws.propensity_NL.shape == (50, length)
    for logits, drawn, found in zip(logit_NV, draws.index_NL, draws.propensity_NL, strict=True):
        assert len(set(drawn.tolist())) == length
        np.testing.assert_allclose(found, probability(drawn.tolist(), logits), rtol=1e-12)


def test_large_logits_do_not_overflow():
    draws = draw_without_replacement(np.array([[1e4, 0.0, -1e4]]), 3, np.random.default_rng(0))
    assert draws.index_NL.tolist() == [[0, 1, 2]]
    np.testing.assert_array_equal(draws.propensity_NL, [[1, 1, 1]])


def test_pairs_are_drawn_as_often_as_they_should():
    """40,000 draws: each of the 12 pairs within 4.5 standard errors of its probability, which
    all twelve miss by chance once in 10,000 seeds."""
    count = 40_000
    draws = draw_without_replacement(np.tile(LOGITS, (count, 1)), 2, np.random.default_rng(2))
    for pair in permutations(range(4), 2):
        share = (draws.index_NL == pair).all(axis=1).mean()
        exact = np.prod(probability(pair))
        assert abs(share - exact) < 4.5 * np.sqrt(exact * (1 - exact) / count), pair
