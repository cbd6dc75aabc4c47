"""How good is a reward model? Errors, order within a user, calibration, with intervals over users.

Post-training compares items for one user, so the order within users matters most; the error and
the calibration say whether the numbers can be used as rewards. Predictions are judged as they
are, never clipped to the range of rewards, because the algorithms do not clip them either.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from recsys_posttrain.basic_statistics import ratio, resampled_sums, spearman
from recsys_posttrain.errors import UserError

BINS = 10
INTERVALS = ("rmse", "pairwise_accuracy")


def quality(
    predicted_E: np.ndarray,
    reward_E: np.ndarray,
    user_E: np.ndarray,
    reward_range: tuple[float, float],
    name: str = "the reward model",
) -> dict[str, float]:
    """Quality of predictions [E] for logged rewards [E] of users [E] (any integer ids).

    rmse, mae: in reward units, over events.
    pairwise_accuracy: see `pairwise_accuracy`, averaged over users.
    spearman: rank correlation within a user, averaged over those with different rewards; 0 where
        only the predictions are equal, since they say nothing about the order.
    calibration_slope: of the regression of rewards on predictions; 1 is right, below 1 the model
        is too extreme; NaN for a constant prediction.
    calibration_error: over 10 bins of equal count (equal predictions may straddle an edge), the
        mean of |mean prediction - mean reward|, as a share of reward_range = (lowest, highest);
        NaN where the two are equal.
    out_of_range: share of predictions outside reward_range.
    users, events; constant_users: those whose rewards are all equal, without pairs or order.

    Raises UserError, naming the model, for predictions that are not finite or no events.
    """
    predicted_E, reward_E = _checked(predicted_E, reward_E, user_E, name)
    low, high = reward_range
    error_E = predicted_E - reward_E
    accuracy_N = pairwise_accuracy(predicted_E, reward_E, user_E)
    order_N = np.nan_to_num(spearman(predicted_E, reward_E, user_E))
    order_N[np.isnan(accuracy_N)] = np.nan  # all models are averaged over the same users
    return {
        "rmse": float(np.sqrt(np.square(error_E).mean())),
        "mae": float(np.abs(error_E).mean()),
        "pairwise_accuracy": _mean_of_known(accuracy_N),
        "spearman": _mean_of_known(order_N),
        "calibration_slope": _slope(predicted_E, reward_E),
        "calibration_error": _calibration_error(predicted_E, reward_E) / (high - low)
        if high > low
        else float("nan"),
        "out_of_range": float(((predicted_E < low) | (predicted_E > high)).mean()),
        "users": float(len(accuracy_N)),
        "events": float(len(reward_E)),
        "constant_users": float(np.isnan(accuracy_N).sum()),
    }


def pairwise_accuracy(
    predicted_E: np.ndarray, reward_E: np.ndarray, user_E: np.ndarray
) -> np.ndarray:
    """Share of a user's pairs with different rewards that the prediction orders rightly, [N].

    N users in the order of np.unique(user_E). Ties in prediction count half; NaN for users
    without such a pair. Exact in O(E log E log L) for L distinct rewards: two rewards first
    differ in exactly one bit of their rank, so each pair is counted in one pass over the bits,
    among the user's events that agree in all higher bits.
    """
    user_E = np.unique(user_E, return_inverse=True)[1]
    level_E = np.unique(reward_E, return_inverse=True)[1]
    order_E = np.lexsort((predicted_E, user_E))
    user_E, level_E, predicted_E = user_E[order_E], level_E[order_E], predicted_E[order_E]
    num_users, num_levels = int(user_E.max()) + 1, int(level_E.max()) + 1
    right_N, pairs_N = np.zeros(num_users), np.zeros(num_users)
    for bit in range((num_levels - 1).bit_length()):
        group_E = user_E * num_levels + (level_E >> (bit + 1))
        sorted_E = np.argsort(group_E, kind="stable")  # keeps the order of predictions
        group_E, value_E = group_E[sorted_E], predicted_E[sorted_E]
        high_E = (level_E[sorted_E] >> bit & 1).astype(bool)
        low_before_E1 = np.concatenate([[0], np.cumsum(~high_E)])
        first_E, last_E = _run_bounds(_changes(group_E))
        tie_first_E, tie_last_E = _run_bounds(_changes(group_E) | _changes(value_E))
        below_E = low_before_E1[tie_first_E] - low_before_E1[first_E]
        not_above_E = low_before_E1[tie_last_E] - low_before_E1[first_E]
        all_E = low_before_E1[last_E] - low_before_E1[first_E]
        owner_E = user_E[sorted_E]
        right_N += np.bincount(owner_E, high_E * (below_E + not_above_E) / 2, num_users)
        pairs_N += np.bincount(owner_E, high_E * all_E, num_users)
    return ratio(right_N, pairs_N)


def quality_frame(
    predictions: Mapping[str, np.ndarray],
    reward_E: np.ndarray,
    user_E: np.ndarray,
    reward_range: tuple[float, float],
    generator: np.random.Generator,
    resamples: int = 1000,
) -> pd.DataFrame:
    """One row per model (index `model`): `quality`, and 95% intervals `<metric>_low`, `_high`.

    The intervals of rmse and pairwise_accuracy are percentiles over resamples of whole users,
    because a user's events are not independent. All models see the same resamples. Every column
    is a number, so `frame.to_latex()`, parquet and W&B take it as it is.
    """
    rows = [quality(p, reward_E, user_E, reward_range, name) for name, p in predictions.items()]
    frame = pd.DataFrame(rows, index=pd.Index(list(predictions), name="model"))
    # Per user and model: sum of squared errors, events, accuracy, whether it has one.
    totals_N4M = np.stack(
        [_user_totals(np.asarray(p), reward_E, user_E) for p in predictions.values()], axis=-1
    )
    sums_SC = resampled_sums(totals_N4M.reshape(len(totals_N4M), -1), resamples, generator)
    error_SM, events_SM, right_SM, known_SM = np.split(sums_SC, 4, axis=1)
    rmse_SM, accuracy_SM = np.sqrt(error_SM / events_SM), ratio(right_SM, known_SM)
    for metric, values_SM in zip(INTERVALS, (rmse_SM, accuracy_SM), strict=True):
        # A resample of nothing but constant users has no pairs; it says nothing.
        said_SM = values_SM[~np.isnan(values_SM).any(axis=1)]
        bounds_2M = np.full((2, len(predictions)), np.nan)
        if len(said_SM):
            bounds_2M = np.percentile(said_SM, [2.5, 97.5], axis=0)
        frame[f"{metric}_low"], frame[f"{metric}_high"] = bounds_2M
    return frame


def _checked(
    predicted_E: np.ndarray, reward_E: np.ndarray, user_E: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray]:
    predicted_E, reward_E = np.asarray(predicted_E, float), np.asarray(reward_E, float)
    if not predicted_E.shape == reward_E.shape == np.shape(user_E) == (predicted_E.size,):
        raise ValueError(
            f"{name}: predictions {predicted_E.shape}, rewards {reward_E.shape} and users "
            f"{np.shape(user_E)} must be one [E] each"
        )
    if not predicted_E.size:
        raise UserError(f"{name} has no held-out events to be judged on: hold out more users")
    broken = int((~np.isfinite(predicted_E)).sum())
    if broken:
        raise UserError(
            f"{name} predicts {broken} of {predicted_E.size} rewards that are not finite "
            "(NaN or infinite): its training diverged; lower its learning rate"
        )
    return predicted_E, reward_E


def _user_totals(predicted_E: np.ndarray, reward_E: np.ndarray, user_E: np.ndarray) -> np.ndarray:
    index_E = np.unique(user_E, return_inverse=True)[1]
    accuracy_N = pairwise_accuracy(predicted_E, reward_E, user_E)
    return np.column_stack(
        [
            np.bincount(index_E, np.square(predicted_E - reward_E)),
            np.bincount(index_E),
            np.nan_to_num(accuracy_N),
            ~np.isnan(accuracy_N),
        ]
    )


def _changes(values_E: np.ndarray) -> np.ndarray:
    """True where a run of equal values begins."""
    return np.concatenate([[True], values_E[1:] != values_E[:-1]])


def _run_bounds(starts_E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each event, where its run begins and where the next one does."""
    bounds = np.append(np.flatnonzero(starts_E), len(starts_E))
    run_E = np.cumsum(starts_E) - 1
    return bounds[run_E], bounds[run_E + 1]


def _mean_of_known(values_N: np.ndarray) -> float:
    known_N = values_N[~np.isnan(values_N)]
    return float(known_N.mean()) if len(known_N) else float("nan")


def _slope(predicted_E: np.ndarray, reward_E: np.ndarray) -> float:
    if np.ptp(predicted_E) == 0:
        return float("nan")
    centred_E = predicted_E - predicted_E.mean()
    return float(centred_E @ reward_E / (centred_E @ centred_E))


def _calibration_error(predicted_E: np.ndarray, reward_E: np.ndarray) -> float:
    """In reward units; bins are weighted by their count, which differs by at most one."""
    order_E = np.argsort(predicted_E, kind="stable")
    bins = np.array_split((predicted_E - reward_E)[order_E], BINS)
    return float(sum(abs(bin_E.sum()) for bin_E in bins) / len(reward_E))
