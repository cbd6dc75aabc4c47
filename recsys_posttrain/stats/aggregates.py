"""Interquartile mean and probability of improvement (Agarwal et al. 2021, arXiv 2108.13264).

Each is written as pseudo-values: one number per seed and user whose mean is the statistic and whose
deviations are its derivative by that seed and that user. `bootstrap` then gives the interval
of these statistics as it does for a mean.
"""

import numpy as np
from numpy.typing import ArrayLike

from recsys_posttrain.basic_statistics import Floats, ratio
from recsys_posttrain.stats.bootstrap import seed_means, without_nan


def iqm_over_seeds(values_KSN: ArrayLike, weights_KN: ArrayLike = 1.0) -> Floats:
    """Pseudo-values [K, S, N] of the interquartile mean of the S seed means.

    The lowest and the highest quarter of the seeds are dropped, rounded down, so that with fewer
    than four seeds it is the mean. A robust summary where a seed may diverge.
    """
    values_KSN = np.asarray(values_KSN, dtype=np.float64)
    seed_KS = seed_means(*without_nan(values_KSN, weights_KN))
    shift_KS = _interquartile(seed_KS) - seed_KS
    return values_KSN + shift_KS[:, :, None]


def iqm_freedom(num_seeds: int) -> int:
    """Degrees of freedom of `iqm_over_seeds`: seeds kept, minus 1 (Tukey and McLaughlin 1963)."""
    return num_seeds - 2 * (num_seeds // 4) - 1


def iqm_over_all(values_KSN: ArrayLike) -> Floats:
    """Pseudo-values [K, S, N] of the interquartile mean of all S x N values, without weights.

    The paper's, with a user for a task. Of little use for a metric that is 0 for most users,
    because the middle half of its values is small or 0.
    """
    values_KSN = np.asarray(values_KSN, dtype=np.float64)
    values_KSN = np.where(np.isnan(values_KSN).any(1, keepdims=True), np.nan, values_KSN)
    flat_KE = values_KSN.reshape(len(values_KSN), -1)
    return _interquartile(flat_KE).reshape(values_KSN.shape)


def improvement(values_KSN: ArrayLike, control_KSN: ArrayLike) -> Floats:
    """Pseudo-values [K, S, N] of the probability of improvement: half is no difference.

    The chance that a method is above the control for one user, each with a seed of its own; a tie
    counts half. As in the paper all pairs of seeds are compared, and a user stands for a task.
    """
    values_KSN, control_KSN = np.broadcast_arrays(
        np.asarray(values_KSN, dtype=np.float64), np.asarray(control_KSN, dtype=np.float64)
    )
    wins_KSN, losses_KSN = np.zeros(values_KSN.shape), np.zeros(values_KSN.shape)
    for seed in range(values_KSN.shape[1]):
        above_KSN = (np.sign(values_KSN - control_KSN[:, seed, None]) + 1) / 2
        wins_KSN += above_KSN / values_KSN.shape[1]
        losses_KSN[:, seed] = above_KSN.mean(1)  # of the control with this seed
    mean_K1N: Floats = wins_KSN.mean(1, keepdims=True)
    return wins_KSN + losses_KSN - mean_K1N


def _interquartile(values_KE: Floats) -> Floats:
    """Pseudo-values [K, E] of the mean without the lowest and the highest quarter of E values.

    Quarters are rounded down, as in scipy.stats.trim_mean(values, 0.25). NaN values stay NaN.
    """
    sorted_KE = np.sort(values_KE, axis=1)  # NaN last
    count_K1 = (~np.isnan(values_KE)).sum(1, keepdims=True)
    cut_K1 = count_K1 // 4
    last_K1 = np.maximum(count_K1 - cut_K1 - 1, 0)
    place_E = np.arange(values_KE.shape[1])
    kept_KE = (cut_K1 <= place_E) & (place_E < count_K1 - cut_K1)
    kept_K1 = kept_KE.sum(1, keepdims=True)
    mean_K1 = ratio(np.where(kept_KE, sorted_KE, 0.0).sum(1, keepdims=True), kept_K1)
    low_K1, high_K1 = (np.take_along_axis(sorted_KE, at_K1, 1) for at_K1 in (cut_K1, last_K1))
    winsorised_KE = np.clip(values_KE, low_K1, high_K1)
    centre_K1 = ratio(np.nan_to_num(winsorised_KE).sum(1, keepdims=True), count_K1)
    return mean_K1 + (winsorised_KE - centre_K1) * ratio(count_K1, kept_K1)
