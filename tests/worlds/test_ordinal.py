import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import chisquare

from recsys_posttrain.worlds.ordinal import calibrated, tilted

STARS = np.arange(1.0, 6.0)
BASE = np.array([0.1, 0.1, 0.3, 0.3, 0.2])


def test_the_expectation_is_the_mean_that_was_asked_for():
    """By enumeration, over the whole scale and far finer than the family's own grid."""
    mean_E = np.linspace(1, 5, 100_001)
    probability_EK = tilted(STARS, BASE).probabilities(mean_E)
    assert probability_EK.min() >= 0
    np.testing.assert_allclose(probability_EK.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose((probability_EK * STARS).sum(axis=1), mean_E, atol=1e-12)


def test_two_stars_are_a_coin():
    family = tilted(np.array([0.0, 1.0]), np.array([0.9, 0.1]))
    probability_EK = family.probabilities(np.array([0.0, 0.25, 1.0]))
    np.testing.assert_allclose(probability_EK, [[1, 0], [0.75, 0.25], [0, 1]], atol=1e-12)


@pytest.mark.parametrize("mean", [1.2, 2.5, 3.3, 4.9])
def test_tilts_of_the_base(mean):
    """Against the tilt found by root search. Between grid points 0.05 apart in theta the family is
    linear; |p''| < 1 in theta bounds the difference by 0.05^2 / 8."""

    def tilt(theta):
        weight_K = BASE * np.exp(theta * STARS)
        return weight_K / weight_K.sum()

    theta = brentq(lambda theta: tilt(theta) @ STARS - mean, -20, 20)
    found_K = tilted(STARS, BASE).probabilities(np.array([mean]))[0]
    np.testing.assert_allclose(found_K, tilt(theta), atol=0.05**2 / 8)


def test_calibration_gives_the_histogram():
    """Half of the choices at 3, half at 4; the histogram has the same mean, 3.5."""
    share_K = np.array([0.08, 0.1, 0.27, 0.34, 0.21])
    assert share_K @ STARS == pytest.approx(3.5)
    family = calibrated(STARS, share_K, np.repeat([3.0, 4.0], 500))
    drawn_K = family.probabilities(np.array([3.0, 4.0])).mean(axis=0)
    np.testing.assert_allclose(drawn_K, share_K, atol=1e-4)  # 200 rounds, each nearer


def test_draws_have_the_probabilities():
    family = tilted(STARS, BASE)
    star_E = family.draw(np.full(20_000, 3.3), np.random.default_rng(0))
    expected_K = family.probabilities(np.array([3.3]))[0] * len(star_E)
    assert chisquare((star_E[:, None] == STARS).sum(axis=0), expected_K).pvalue > 0.001
