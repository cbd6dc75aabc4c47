from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds.preferences import Preferences, _ridge, _shrinkage


def held_out_rmse(preferences, rating_NV, seed, share=0.1):
    """Root mean squared error of r* on a random share of the ratings, fitted on the others."""
    row_E, item_E = rating_NV.tocoo().coords
    out_E = np.random.default_rng(seed).random(len(row_E)) < share
    known = csr_array(
        (rating_NV.data[~out_E], (row_E[~out_E], item_E[~out_E])), shape=rating_NV.shape
    )
    state_NR, factor_VR = preferences.fit(known, seed)
    predicted_E = np.einsum("er,er->e", state_NR[row_E[out_E]], factor_VR[item_E[out_E]])
    return float(np.sqrt(np.square(predicted_E - rating_NV.data[out_E]).mean()))


def known_world():
    """30 users, 20 items: r = 3 + a_u + b_i + p_u q_i, by hand inside [1, 5]."""
    a_N = np.linspace(-0.5, 0.5, 30)
    b_V = np.linspace(0.6, -0.6, 20)
    p_N, q_V = np.where(np.arange(30) % 2, 1.0, -1.0), np.where(np.arange(20) % 3, 0.4, -0.8)
    return 3 + a_N[:, None] + b_V + np.outer(p_N, q_V)


def some_of(rating_NV, share):
    """A random share of the cells, and the lowest and highest, which are the scale."""
    known_NV = np.random.default_rng(0).random(rating_NV.shape) < share
    known_NV.ravel()[[rating_NV.argmin(), rating_NV.argmax()]] = True
    row_E, item_E = known_NV.nonzero()
    return csr_array((rating_NV[row_E, item_E], (row_E, item_E)), shape=rating_NV.shape)


EASY = Preferences(rank=1, ridge=1e-3, bias_ridge=1e-3, sweeps=100, bounded_rank=3)


def test_known_factors_are_found():
    """Three of five ratings are known, without noise; those that are not known are found too."""
    rating_NV = known_world()
    state_NR, factor_VR = EASY.fit(some_of(rating_NV, 0.6), seed=0)
    # The ridge keeps p . q and the biases about 1e-3 / 12 ratings per user short of the truth.
    np.testing.assert_allclose(state_NR @ factor_VR.T, rating_NV, atol=1e-2)


def test_held_out_ratings_choose_the_rank():
    """The best possible is 0, and what no interaction can explain is |p q|, .4 or .8."""
    rating_NV = some_of(known_world(), 0.8)
    assert held_out_rmse(EASY, rating_NV, seed=0) < 1e-2
    no_interaction = replace(EASY, ridge=1e6)
    assert 0.4 < held_out_rmse(no_interaction, rating_NV, seed=0) < 0.8


def test_nothing_leaves_the_scale():
    """Users that only give 5, or 1, and items that only get them; float32 rounds 5 to 4.8e-7."""
    rating_NV = np.full((12, 9), 3.0)
    rating_NV[:4], rating_NV[4:6] = 5, 1
    rating_NV[6:, :3], rating_NV[6:, 3:5] = 5, 1
    state_NR, factor_VR = replace(EASY, rank=3).fit(some_of(rating_NV, 0.7), seed=0)
    reward_NV = state_NR.astype(np.float64) @ factor_VR.T
    assert reward_NV.min() >= 1 - 1e-5
    assert reward_NV.max() <= 5 + 1e-5
    assert reward_NV[:4].mean() > 4.4
    assert reward_NV[4:6].mean() < 1.6


def test_shrinkage_by_hand():
    deviation_NV = np.array([[1.0, -1.0], [2.0, -1.0], [0.5, -4.0], [0.0, 0.0]])
    shrink_N = _shrinkage(np.array([3.0, 4.0, 3.0, 3.0]), deviation_NV, (1, 5))
    np.testing.assert_allclose(shrink_N, [1, 0.5, 0.5, 1])


def test_ridge_is_least_squares_with_rows_for_the_penalty():
    generator = np.random.default_rng(0)
    known_VR, penalty_R = generator.normal(size=(7, 3)), np.array([0.5, 2.0, 2.0])
    rating_NV = some_of(generator.normal(size=(5, 7)), 0.6)
    found_NR = _ridge(rating_NV, known_VR, penalty_R)
    for row, found_R in enumerate(found_NR):
        cells = slice(*rating_NV.indptr[row : row + 2])
        rows_CR = np.vstack([known_VR[rating_NV.indices[cells]], np.diag(np.sqrt(penalty_R))])
        target_C = np.append(rating_NV.data[cells], np.zeros(3))
        np.testing.assert_allclose(found_R, np.linalg.lstsq(rows_CR, target_C)[0], atol=1e-12)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"rank": 0}, "rank is 0; give 1 or more"), ({"ridge": 0.0}, "ridge is 0.0; give a penalty")],
)
def test_mistakes(change, sentence):
    with pytest.raises(UserError, match=sentence):
        Preferences(**change)
