from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_array

from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds import preferences
from recsys_posttrain.worlds.preferences import Preferences, _ridge, _shrinkage, inside


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


EASY = Preferences(rank=1, ridge=1e-3, bias_ridge=1e-3, sweeps=100, items_per_vector=20)


def test_known_factors_are_found():
    """Three of five ratings are known, without noise; those that are not known are found too."""
    rating_NV = known_world()
    factors = EASY._factors(some_of(rating_NV, 0.6), np.random.default_rng(0))
    # The ridge keeps p . q and the biases about 1e-3 / 12 ratings per user short of the truth.
    np.testing.assert_allclose(factors.user_NR @ factors.item_VR.T, rating_NV, atol=1e-2)
    assert factors.rest < 1e-5


def test_an_item_with_few_ratings_is_drawn_to_the_line_in_their_number():
    """Items with 32, 16 and 8 ratings have means 4, 3 and 2, and one has a single 5: it stays well
    above what the line says for it, but as far below its own rating."""
    means, counts = np.array([4.0, 3.0, 2.0, 5.0]), [32, 16, 8, 1]
    cells = [(user, item) for item, count in enumerate(counts) for user in range(count)]
    row_E, item_E = np.array(cells).T
    rating_NV = csr_array((means[item_E], (row_E, item_E)))
    model = Preferences(rank=1, ridge=1e9, bias_ridge=1.0, sweeps=60)
    factors = [model._factors(rating_NV, np.random.default_rng(seed)) for seed in range(50)]
    bias_V = np.mean([each.item_VR[:, 1] for each in factors], axis=0)
    line = np.polyval(np.polyfit(np.log(counts[:3]), bias_V[:3], 1), 0.0)
    own = 5 - np.mean([each.user_NR[0, 0] for each in factors])  # of the user who gave it
    assert line < own - 2
    assert line + 0.5 < bias_V[3] < own - 0.5


def test_draws_have_the_mean_and_the_covariance_of_the_posterior():
    """40,000 rows with the same three cells of a width of 2, against the closed form
    N(G^-1 X'y, variance G^-1), G = X'X + penalty. Standard errors of covariances are .7% of the
    variances."""
    known_VR = np.array([[1.0, 0.5], [1.0, -1.0], [1.0, 2.0], [1.0, 9.0]])
    rows, target_C, penalty_R = 40_000, np.array([1.0, -0.5, 0.25]), np.array([0.5, 2.0])
    indices = np.tile(np.arange(3), rows)
    target_NV = csr_array(
        (np.tile(target_C, rows), indices, 3 * np.arange(rows + 1)), shape=(rows, 4)
    )
    drawn_NR = _ridge(target_NV, known_VR, penalty_R, 0.8, np.random.default_rng(0))
    gram_RR = known_VR[:3].T @ known_VR[:3] + np.diag(penalty_R)
    covariance_RR = 0.8 * np.linalg.inv(gram_RR)
    mean_R = np.linalg.solve(gram_RR, known_VR[:3].T @ target_C)
    sd_R = np.sqrt(np.diag(covariance_RR))
    assert (np.abs(drawn_NR.mean(axis=0) - mean_R) < 4 * sd_R / np.sqrt(rows)).all()
    allowed_RR = 4 * np.sqrt(2 / rows) * np.outer(sd_R, sd_R)
    assert (np.abs(np.cov(drawn_NR.T) - covariance_RR) < allowed_RR).all()


def test_ridge_is_least_squares_with_rows_for_the_penalty():
    generator = np.random.default_rng(0)
    known_VR, penalty_R = generator.normal(size=(7, 3)), np.array([0.5, 2.0, 2.0])
    rating_NV = some_of(generator.normal(size=(5, 7)), 0.6)
    found_NR = _ridge(rating_NV, known_VR, penalty_R, 0.0, generator)
    for row, found_R in enumerate(found_NR):
        cells = slice(*rating_NV.indptr[row : row + 2])
        rows_CR = np.vstack([known_VR[rating_NV.indices[cells]], np.diag(np.sqrt(penalty_R))])
        target_C = np.append(rating_NV.data[cells], np.zeros(3))
        np.testing.assert_allclose(found_R, np.linalg.lstsq(rows_CR, target_C)[0], atol=1e-12)


def test_the_personal_part_has_variance_1_and_is_shared_by_chance_alone():
    """Of k = 2 of 40: E w^2 = 1, and users with s of them in common correlate by s / 2, on average
    by k / 40. 4,000 items and 300 users: standard errors below .01."""
    drawn = Preferences(items_per_vector=100)
    user_NH, sign_VH = drawn._personal(300, 4000, np.random.default_rng(0))
    assert ((user_NH > 0).sum(axis=1) == 2).all()
    w_NV = user_NH @ sign_VH.T
    assert abs(w_NV.mean()) < 0.01
    assert abs(np.square(w_NV).mean() - 1) < 0.01
    correlation_NN = w_NV @ w_NV.T / 4000
    common_NN = 2 * user_NH @ user_NH.T
    np.testing.assert_allclose(correlation_NN, common_NN / 2, atol=6 / np.sqrt(4000))
    others = ~np.eye(300, dtype=bool)
    assert abs(correlation_NN[others].mean() - 2 / 40) < 0.01


def test_what_lies_inside_stays():
    generator = np.random.default_rng(0)
    basis_VR, _ = np.linalg.qr(np.column_stack([np.ones(9), generator.normal(size=(9, 2))]))
    target_NR = np.array([[-9.0, 0.5, 0.2], [-9.0, -0.3, 0.4]])  # about 3 everywhere
    target_NR[:, 0] *= np.sign(basis_VR[0, 0]) * -1
    state_NR = inside(target_NR, basis_VR, (1, 5))
    product_NV = target_NR @ basis_VR.T
    assert 1 < product_NV.min() < product_NV.max() < 5
    factor_VR = np.column_stack([np.ones(9), basis_VR - basis_VR.mean(axis=0)])
    np.testing.assert_allclose(state_NR @ factor_VR.T, product_NV, atol=1e-12)


def test_what_lies_outside_goes_to_the_nearest_inside(monkeypatch):
    """Against a general solver, the first two coordinates counting three times; with more
    rounds nothing is left to shrink."""
    monkeypatch.setattr(preferences, "ROUNDS", 3000)
    generator = np.random.default_rng(2)
    basis_VR, _ = np.linalg.qr(np.column_stack([np.ones(12), generator.normal(size=(12, 3))]))
    target_NR = np.array([[10.0, 0.0, 0.0, 0.0]]) * np.sign(basis_VR[0, 0]) + generator.normal(
        scale=3, size=(4, 4)
    )
    factor_VR = np.column_stack([np.ones(12), basis_VR - basis_VR.mean(axis=0)])
    found_NV = inside(target_NR, basis_VR, (1, 5)) @ factor_VR.T
    for target_R, found_V in zip(target_NR, found_NV, strict=True):
        assert not 1 < (basis_VR @ target_R).min() < (basis_VR @ target_R).max() < 5
        inequalities = [
            {"type": "ineq", "fun": lambda s_R: basis_VR @ s_R - 1},
            {"type": "ineq", "fun": lambda s_R: 5 - basis_VR @ s_R},
        ]
        solved = minimize(
            lambda s_R, target_R=target_R: np.square(s_R - target_R) @ [3, 3, 1, 1],
            3 * basis_VR.sum(axis=0),
            constraints=inequalities,
            options={"ftol": 1e-14},
        )
        np.testing.assert_allclose(found_V, basis_VR @ solved.x, atol=1e-3)


@pytest.fixture(scope="module")
def ratings():
    """200 users, 40 items, whole stars of normal preferences with sd 1.1, half of them known."""
    generator = np.random.default_rng(3)
    mean_NV = 3.2 + 0.5 * generator.normal(size=(200, 1)) + 0.5 * generator.normal(size=40)
    rating_NV = np.rint(mean_NV + generator.normal(size=mean_NV.shape)).clip(1, 5)
    return some_of(rating_NV, 0.5)


PLAIN = Preferences(rank=2, items_per_vector=3, sweeps=4)


@pytest.mark.parametrize("noise", [0.45, 0.6])
def test_ratings_scatter_as_much_as_they_should(ratings, noise):
    """Over the known cells, whose expectations are short of the ratings' variance by noise^2."""
    state_NR, factor_VR = replace(PLAIN, noise=noise).draw(ratings, seed=0)
    row_E = np.repeat(np.arange(200), np.diff(ratings.indptr))
    reward_E = (state_NR @ factor_VR.T)[row_E, ratings.indices]
    assert np.sqrt(ratings.data.var() - reward_E.var()) == pytest.approx(noise, abs=0.02)


def test_nothing_leaves_the_scale_whatever_it_needs():
    """Users that only give 5, or 1, and items that only get them; float32 rounds 5 to 4.8e-7."""
    rating_NV = np.full((12, 9), 3.0)
    rating_NV[:4], rating_NV[4:6] = 5, 1
    rating_NV[6:, :3], rating_NV[6:, 3:5] = 5, 1
    state_NR, factor_VR = replace(EASY, rank=3).draw(some_of(rating_NV, 0.7), seed=0)
    reward_NV = state_NR.astype(np.float64) @ factor_VR.T
    assert reward_NV.min() >= 1 - 1e-5
    assert reward_NV.max() <= 5 + 1e-5
    assert reward_NV[:4].mean() > 4.4
    assert reward_NV[4:6].mean() < 1.6


def test_users_at_a_time_change_nothing(ratings, monkeypatch):
    """Up to the order in which float32 is added."""
    state_NR, factor_VR = PLAIN.draw(ratings, seed=0)
    monkeypatch.setattr(preferences, "ROWS", 7)
    by_seven_NR, same_VR = PLAIN.draw(ratings, seed=0)
    np.testing.assert_array_equal(same_VR, factor_VR)
    np.testing.assert_allclose(by_seven_NR, state_NR, atol=1e-4)


def test_one_seed_is_one_draw(ratings):
    first, again, other = (PLAIN.draw(ratings, seed)[0] for seed in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert first.dtype == np.float32
    assert not np.allclose(first, other)


def test_shrinkage_by_hand():
    deviation_NV = np.array([[1.0, -1.0], [2.0, -1.0], [0.5, -4.0], [0.0, 0.0]])
    shrink_N = _shrinkage(np.array([3.0, 4.0, 3.0, 3.0]), deviation_NV, (1, 5))
    np.testing.assert_allclose(shrink_N, [1, 0.5, 0.5, 1])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rank": 0}, "rank is 0; give 1 or more"),
        ({"noise": 0.0}, "noise is 0.0; give a number above 0"),
    ],
)
def test_mistakes(change, sentence):
    with pytest.raises(UserError, match=sentence):
        Preferences(**change)
