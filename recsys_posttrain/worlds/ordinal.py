"""Whole-star ratings with a given expectation.

    p_k(m) = w_k exp(theta k) / Z,   theta such that sum_k k p_k(m) = m

The exponential tilts of one base distribution w: their expectation is m exactly, and w carries how
far ratings scatter. `calibrated` finds the w with which the ratings have a given histogram.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

TILT_G = np.linspace(-20, 20, 801)
QUANTILES = 2000
ROUNDS = 200


@dataclass(frozen=True, eq=False)
class RatingDistribution:
    """p(k | m) at G values of m; linear between them, which keeps the expectation exactly m."""

    star_K: np.ndarray  # the rating values, increasing
    mean_G: np.ndarray  # from the lowest star to the highest
    probability_GK: np.ndarray

    def probabilities(self, mean_E: np.ndarray) -> np.ndarray:
        """[E, K] for expectations inside the scale."""
        columns = [np.interp(mean_E, self.mean_G, p_G) for p_G in self.probability_GK.T]
        return np.stack(columns, axis=-1)

    def draw(self, mean_E: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """One rating for each expectation, [E]."""
        below_EK = self.probabilities(mean_E)[:, :-1].cumsum(axis=1)
        star_E = (generator.random(len(mean_E))[:, None] >= below_EK).sum(axis=1)
        return np.asarray(self.star_K[star_E])


def tilted(star_K: np.ndarray, base_K: np.ndarray) -> RatingDistribution:
    """The family of one base distribution; base_K > 0."""
    probability_GK = softmax(np.log(base_K) + TILT_G[:, None] * star_K, axis=1)
    probability_GK[[0, -1]] = np.eye(len(star_K))[[0, -1]]  # the whole scale can be reached
    return RatingDistribution(star_K, probability_GK @ star_K, probability_GK)


def calibrated(star_K: np.ndarray, share_K: np.ndarray, mean_E: np.ndarray) -> RatingDistribution:
    """The family whose ratings at the expectations mean_E have the histogram share_K.

    By iterative proportional fitting of the base. Where share_K has another mean than mean_E no
    family can match it; the one found is then as tilted as mean_E demands.
    """
    # Quantiles stand for the million expectations.
    mean_Q = np.quantile(mean_E, (np.arange(QUANTILES) + 0.5) / QUANTILES)
    (share_K,) = tilted(star_K, share_K).probabilities(mean_Q.mean(keepdims=True))
    base_K = share_K
    for _ in range(ROUNDS):
        base_K = base_K * share_K / tilted(star_K, base_K).probabilities(mean_Q).mean(axis=0)
        base_K = base_K / base_K.sum()
    return tilted(star_K, base_K)
