from itertools import permutations

import numpy as np
from scipy.stats import chisquare

from recsys_posttrain.worlds.logging_policy import Weights
from recsys_posttrain.worlds.sampling import draw_items

ITEM_V = np.array([4.0, 3.0, 2.0, 1.0])
FOLLOWS_VV = np.array([[1, 5, 1, 1], [1, 1, 4, 1], [2, 1, 1, 1], [1, 1, 1, 1]], dtype=np.float32)


def chances(sequence, sittings):
    """Of each choice given those before, written out from the definition."""
    result = []
    for step, item in enumerate(sequence):
        weight = {
            other: ITEM_V[other]
            * (FOLLOWS_VV[sequence[step - 1], other] if step and sittings[step] else 1)
            for other in range(4)
            if other not in sequence[:step]
        }
        result.append(weight[item] / sum(weight.values()))
    return result


def drawn(users, sittings, seed=0):
    """Equal users with three events each; sittings: whether each event continues the one before."""
    weights = Weights(np.tile(ITEM_V.astype(np.float32), (users, 1)), FOLLOWS_VV)
    begins_E = ~np.tile(np.array(sittings, dtype=bool), users)
    generator = np.random.default_rng(seed)
    item_E, propensity_E = draw_items(weights, np.full(users, 3), begins_E.cumsum(), generator)
    return item_E.reshape(users, 3), propensity_E.reshape(users, 3)


def test_sequences_and_propensities():
    """All 24 sequences of three of four items, with a new sitting before the third."""
    sittings = (0, 1, 0)
    item_N3, propensity_N3 = drawn(5_000, sittings)
    sequences = list(permutations(range(4), 3))
    expected = np.array([np.prod(chances(each, sittings)) for each in sequences])
    assert abs(expected.sum() - 1) < 1e-12
    count = [(item_N3 == each).all(axis=1).sum() for each in sequences]
    assert chisquare(count, expected * len(item_N3)).pvalue > 0.001
    for sequence in sequences:
        of_it = propensity_N3[(item_N3 == sequence).all(axis=1)]
        np.testing.assert_allclose(of_it, [chances(sequence, sittings)] * len(of_it), atol=1e-12)


def test_propensities_of_the_unseen_items_sum_to_one():
    """Over what was chosen after each beginning: every unseen item was, among 5,000 users."""
    item_N3, propensity_N3 = drawn(5_000, (0, 1, 1))
    for beginning in [(), *permutations(range(4), 1), *permutations(range(4), 2)]:
        step = len(beginning)
        same = (item_N3[:, :step] == np.array(beginning, dtype=int)).all(axis=1)
        chosen, first = np.unique(item_N3[same, step], return_index=True)
        assert set(chosen) == set(range(4)) - set(beginning)
        assert abs(propensity_N3[same, step][first].sum() - 1) < 1e-12


def test_unequal_lengths_and_users():
    """Everybody has own weights and length, up to the whole catalogue, and keeps own rows."""
    generator = np.random.default_rng(0)
    length_N = generator.integers(0, 7, size=150)
    length_N[:2] = 6, 1
    weight_NV = generator.random((150, 6), dtype=np.float32)
    user_E = np.repeat(np.arange(150), length_N)
    follows_VV = generator.random((6, 6), dtype=np.float32)
    weights = Weights(weight_NV, follows_VV)
    item_E, propensity_E = draw_items(weights, length_N, user_E, generator)
    end_N = length_N.cumsum()
    for user, end in enumerate(end_N):
        items = item_E[end - length_N[user] : end]
        assert len(set(items)) == len(items)
        for step, item in enumerate(items):
            weight_V = weight_NV[user].astype(np.float64)
            if step:
                weight_V *= follows_VV[items[step - 1]]
            weight_V[items[:step]] = 0
            found = propensity_E[end - length_N[user] + step]
            # The product of two float32 weights is rounded once, to a share of 2^-24.
            np.testing.assert_allclose(found, weight_V[item] / weight_V.sum(), rtol=2**-22)


def test_deterministic_in_the_seed():
    one, same, other = (drawn(100, (0, 1, 1), seed)[0] for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).any()
