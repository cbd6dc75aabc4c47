"""Intervals and tests over users and seeds, from values saved per user.

Users are the clusters: all targets of a user are drawn together, and with more than one seed
the seeds are drawn too (both with replacement, independently of each other). Everything passed
in one call sees the same draws, so differences between methods are paired.

With few seeds the seed part of the interval is too small by (S - 1) / S, as for any bootstrap;
draw conclusions about seeds from at least 5.
In a simulation (300 users, noise per user and seed as large as users differ, 400 repetitions)
95% intervals held the truth 94.5-97.8% of the time with 3, 5 and 10 seeds, with and without a seed
effect as large as the standard error; with one seed and that effect only 86.5%.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2_000
CONFIDENCE = 0.95
_BLOCK_ELEMENTS = 2_000_000  # draws x users held at once: 16 MB


@dataclass(frozen=True)
class Interval:
    """A mean and its percentile interval. NaN where there is nothing to average."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """Method minus control on the same users and seeds.

    p_value: two-sided, for "no difference". effect_size: Cohen's d of the users' differences.
    """

    mean: float
    low: float
    high: float
    p_value: float
    effect_size: float


def bootstrap_means(
    values_KSN: ArrayLike,
    *,
    weights_KSN: ArrayLike = 1.0,
    resamples: int = RESAMPLES,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Weighted means of K statistics over S seeds and N users, and their bootstrap draws.

    NaN values are left out (the user is not in the subset). weights_KSN broadcasts against the
    values; each statistic is sum(weight * value) / sum(weight).
    Returns mean_K and draws_RK; a draw that holds no user of the subset is NaN.
    """
    values_KSN = np.asarray(values_KSN, dtype=np.float64)
    num_statistics, num_seeds, num_users = values_KSN.shape
    weights_KSN = np.where(np.isnan(values_KSN), 0.0, weights_KSN)
    parts_2KSN = np.stack([weights_KSN * np.nan_to_num(values_KSN), weights_KSN])
    columns_NC = np.ascontiguousarray(parts_2KSN.reshape(-1, num_users).T)

    seed_draws_RS = np.ones((resamples, 1))
    if num_seeds > 1:
        seed_draws_RS = _draw_counts(resamples, num_seeds, rng)
    sums_R2K = np.empty((resamples, 2, num_statistics))
    rows = max(1, _BLOCK_ELEMENTS // max(num_users, 1))
    for start in range(0, resamples, rows):
        block = slice(start, min(start + rows, resamples))
        counts_rN = _draw_counts(block.stop - start, num_users, rng)
        sums_r2KS = (counts_rN @ columns_NC).reshape(-1, 2, num_statistics, num_seeds)
        sums_R2K[block] = (sums_r2KS * seed_draws_RS[block, None, None]).sum(3)
    totals_2K = parts_2KSN.sum((2, 3))
    return _ratio(totals_2K[0], totals_2K[1]), _ratio(sums_R2K[:, 0], sums_R2K[:, 1])


def interval(mean: float, draws_R: Floats, confidence: float = CONFIDENCE) -> Interval:
    """The percentile interval of bootstrap draws."""
    draws_R = draws_R[~np.isnan(draws_R)]
    if len(draws_R) == 0:
        return Interval(float(mean), np.nan, np.nan)
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws_R, [tail, 1 - tail])
    return Interval(float(mean), float(low), float(high))


def p_value(draws_R: Floats) -> float:
    """Two-sided p-value for zero: twice the share of draws on the rarer side of it.

    The smallest possible value is 2 / (R + 1), never 0. NaN without draws.
    """
    draws_R = draws_R[~np.isnan(draws_R)]
    if len(draws_R) == 0:
        return float("nan")
    rarer = min(int((draws_R <= 0).sum()), int((draws_R >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(draws_R) + 1))


def effect_size(differences_SN: ArrayLike, weights_SN: ArrayLike = 1.0) -> float:
    """Cohen's d of paired differences over users, each user averaged over the seeds first.

    0 when nobody differs; NaN with fewer than two users, infinite when all differ equally.
    """
    differences_SN = np.asarray(differences_SN, dtype=np.float64)
    weights_SN = np.where(np.isnan(differences_SN), 0.0, weights_SN)
    weight_N = weights_SN.sum(0)
    used = weight_N > 0
    if used.sum() < 2:
        return float("nan")
    weight_N = weight_N[used]
    user_N = (weights_SN * np.nan_to_num(differences_SN)).sum(0)[used] / weight_N
    mean = float(np.average(user_N, weights=weight_N))
    if mean == 0:
        return 0.0
    variance = float(np.average((user_N - mean) ** 2, weights=weight_N))
    deviation = np.sqrt(variance * len(user_N) / (len(user_N) - 1))
    return float(mean / deviation) if deviation > 0 else float(np.copysign(np.inf, mean))


def bootstrap_interval(
    values_SN: ArrayLike, *, resamples: int = RESAMPLES, rng: np.random.Generator
) -> Interval:
    """Mean of values_SN (NaN = not in the subset) and its 95% interval."""
    values_SN = np.asarray(values_SN, dtype=np.float64)
    mean_K, draws_RK = bootstrap_means(values_SN[None], resamples=resamples, rng=rng)
    return interval(mean_K[0], draws_RK[:, 0])


def paired_difference(
    values_SN: ArrayLike,
    control_SN: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    rng: np.random.Generator,
) -> PairedDifference:
    """values_SN - control_SN over the users that both hold; one seed pairs with all."""
    difference_SN = np.asarray(values_SN, dtype=np.float64) - np.asarray(control_SN, np.float64)
    mean_K, draws_RK = bootstrap_means(difference_SN[None], resamples=resamples, rng=rng)
    found = interval(mean_K[0], draws_RK[:, 0])
    return PairedDifference(
        mean=found.mean,
        low=found.low,
        high=found.high,
        p_value=p_value(draws_RK[:, 0]),
        effect_size=effect_size(difference_SN),
    )


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Holm's adjusted p-values, in the given order; reject where they are <= alpha.

    NaN stays NaN and is not counted as a test.
    """
    given = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(given), np.nan)
    tests = np.flatnonzero(~np.isnan(given))
    order = tests[np.argsort(given[tests], kind="stable")]
    steps = given[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _draw_counts(resamples: int, size: int, rng: np.random.Generator) -> Floats:
    """How often each of `size` units is drawn in `size` draws with replacement: [R, size]."""
    drawn = rng.integers(0, size, (resamples, size))
    drawn += size * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * size)
    return counts.reshape(resamples, size).astype(np.float64)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    ratio = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio
