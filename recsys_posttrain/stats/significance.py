"""Is a method different from its control? Effect size, and Holm's correction."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from recsys_posttrain.basic_statistics import Floats


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
