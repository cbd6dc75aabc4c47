"""Is a method different from its control? Paired difference, effect size, Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from recsys_posttrain.stats.bootstrap import (
    RESAMPLES,
    Floats,
    bootstrap_means,
    interval,
    p_value,
)


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
        mean=found.value,
        low=found.low,
        high=found.high,
        p_value=p_value(draws_RK[:, 0]),
        effect_size=effect_size(difference_SN),
    )


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
