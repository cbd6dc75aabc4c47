"""Bootstrap draws of means over users and seeds; the intervals and p-values that they give.

A value is taken as mean + user effect + seed effect + rest, with users and seeds crossed. The
variance of a mean over N users and S seeds is then that of the user means / N, plus that of the
seed means / S, minus that of the rest / (N S), which both of them hold (two-way clusters, Cameron,
Gelbach and Miller 2011). Drawing users and seeds with replacement would count the rest up to three
times (Owen 2007), and the seeds (S - 1) / S times. So a draw is the sum of two parts:

- users drawn with replacement, all targets of a user together, shrunk to what is theirs alone;
- a multivariate t draw with S - 1 degrees of freedom and the covariance of the seed means.

Where the seeds decide, this is the t interval of the seed means. Otherwise, with few seeds, it is
too wide rather than too narrow: benchmarks/coverage.py measures by how much. With one seed there is
no second part, and intervals and tests hold for that seed alone.
All statistics of one call see the same draws.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaincinv

from recsys_posttrain.basic_statistics import Floats, ratio, resampled_sums

RESAMPLES = 2_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A statistic and its percentile interval. NaN where there is nothing to average."""

    value: float
    low: float
    high: float


def bootstrap_means(
    values_KSN: ArrayLike,
    *,
    weights_KN: ArrayLike = 1.0,
    freedom_K: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Weighted means of K statistics over S seeds and N users, and their bootstrap draws.

    Each statistic is sum(weight * value) / sum(weight) over users, averaged over seeds. A user with
    a NaN under some seed is left out of that statistic (not in the subset).
    weights_KN: broadcasts. freedom_K: degrees of freedom of the seed part; default S - 1.
    Returns mean_K and draws_RK; a draw that holds no user of the subset is NaN.
    """
    values_KSN, weights_KN = without_nan(values_KSN, weights_KN)
    num_seeds = values_KSN.shape[1]
    seed_KS = seed_means(values_KSN, weights_KN)
    mean_K = seed_KS.mean(1)
    user_KN = values_KSN.mean(1) - mean_K[:, None]
    columns_NC = np.concatenate([weights_KN * np.nan_to_num(user_KN), weights_KN]).T
    sums_RC = resampled_sums(columns_NC, resamples, rng)
    user_RK = ratio(sums_RC[:, : len(mean_K)], sums_RC[:, len(mean_K) :])
    if num_seeds == 1:
        return mean_K, mean_K + user_RK

    seed_KS = seed_KS - mean_K[:, None]
    share_KN = ratio(weights_KN, weights_KN.sum(1, keepdims=True))
    rest_KN = (values_KSN - seed_KS[:, :, None]).var(1, ddof=1) / num_seeds
    rest_K, both_K = (share_KN**2 * rest_KN).sum(1), (share_KN**2 * user_KN**2).sum(1)
    own_K = 1 - np.minimum(ratio(rest_K, both_K), 1)
    freedom_K = np.asarray(num_seeds - 1 if freedom_K is None else freedom_K, dtype=np.float64)
    freedom_K = np.broadcast_to(freedom_K, mean_K.shape)
    seed_RK = _t_draws(seed_KS, freedom_K, resamples, rng)
    return mean_K, mean_K + np.sqrt(np.nan_to_num(own_K)) * user_RK + seed_RK


def without_nan(values_KSN: ArrayLike, weights_KN: ArrayLike) -> tuple[Floats, Floats]:
    """Users with a NaN under some seed get the value and the weight 0; weights in full, [K, N]."""
    values_KSN = np.asarray(values_KSN, dtype=np.float64)
    absent_KN = np.isnan(values_KSN).any(1)
    return np.where(absent_KN[:, None], 0.0, values_KSN), np.where(absent_KN, 0.0, weights_KN)


def seed_means(values_KSN: Floats, weights_KN: Floats) -> Floats:
    """Weighted means over users, [K, S]; NaN where all weights are 0."""
    sums_KS = np.einsum("ksn,kn->ks", values_KSN, weights_KN)
    return ratio(sums_KS, weights_KN.sum(1, keepdims=True))


def interval(value: float, draws_R: Floats, confidence: float = CONFIDENCE) -> Interval:
    """The percentile interval of bootstrap draws."""
    draws_R = draws_R[~np.isnan(draws_R)]
    if len(draws_R) == 0:
        return Interval(float(value), np.nan, np.nan)
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws_R, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def bootstrap_interval(
    values_SN: ArrayLike, *, resamples: int = RESAMPLES, rng: np.random.Generator
) -> Interval:
    """Mean of values_SN (NaN = not in the subset) and its 95% interval."""
    mean_K, draws_RK = bootstrap_means(np.asarray(values_SN)[None], resamples=resamples, rng=rng)
    return interval(mean_K[0], draws_RK[:, 0])


def p_value(draws_R: Floats) -> float:
    """Two-sided p-value for zero: twice the share of draws on the rarer side of it.

    The smallest possible value is 2 / (R + 1), never 0. NaN without draws.
    """
    draws_R = draws_R[~np.isnan(draws_R)]
    if len(draws_R) == 0:
        return float("nan")
    rarer = min(int((draws_R <= 0).sum()), int((draws_R >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(draws_R) + 1))


def _t_draws(
    deviations_KS: Floats, freedom_K: Floats, resamples: int, rng: np.random.Generator
) -> Floats:
    """t draws [R, K] with the covariance of the means of S seeds: normal draws over chi.

    The chi-square of a draw is one quantile for all K, and all quantiles come equally often.
    """
    num_seeds = deviations_KS.shape[1]
    normal_RK: Floats = rng.standard_normal((resamples, num_seeds)) @ deviations_KS.T
    quantile_R1 = (rng.permutation(resamples)[:, None] + 0.5) / resamples
    freedom_F, which_K = np.unique(freedom_K, return_inverse=True)
    square_RF = 2 * gammaincinv(freedom_F / 2, quantile_R1) / freedom_F
    scale_RF: Floats = np.sqrt(square_RF * num_seeds * (num_seeds - 1))
    return normal_RK / scale_RF[:, which_K]
