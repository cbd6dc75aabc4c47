"""How good is a reward model? Errors, order within a user, calibration, with intervals over users.

Post-training compares items for one user in one context, so the order of predictions that are made
from the same history matters most; the error and the calibration say whether the numbers can be
used as rewards. Predictions are judged as they are, never clipped to the range of rewards, because
the algorithms do not clip them either.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys_posttrain.basic_statistics import Floats, ratio, resampled_sums, spearman
from recsys_posttrain.errors import UserError
from recsys_posttrain.rewards.order import context_accuracy, pairwise_accuracy

BINS = 10
INTERVALS = (
    *("rmse", "mae", "pairwise_accuracy", "context_accuracy", "spearman"),
    *("calibration_slope", "calibration_error", "out_of_range"),
)


class InContext(NamedTuple):
    """Predictions of the same events, several of which are made from the same history."""

    predictions: Mapping[str, np.ndarray]  # [E], by model
    context_E: np.ndarray  # which history, as any number


def quality(
    predicted_E: np.ndarray,
    reward_E: np.ndarray,
    user_E: np.ndarray,
    reward_range: tuple[float, float],
    name: str = "the reward model",
    in_context: InContext | None = None,
) -> dict[str, float]:
    """Quality of predictions [E] for logged rewards [E] of users [E] (any integer ids).

    rmse, mae: in reward units, over events.
    pairwise_accuracy: see `pairwise_accuracy`, averaged over users. Each event of a pair is
        predicted at its own time, which punishes a model for what it learns of the user between.
    context_accuracy: of pairs that are predicted from the same history; NaN without in_context.
    spearman: rank correlation within a user, averaged over those with different rewards; 0 where
        only the predictions are equal, since they say nothing about the order.
    calibration_slope: of the regression of rewards on predictions; 1 is right, below 1 the model
        is too extreme; NaN for a constant prediction.
    calibration_error: over 10 bins of equal count (equal predictions may straddle an edge), the
        mean of |mean prediction - mean reward|, as a share of reward_range = (lowest, highest);
        NaN where the two are equal. calibration_floor: what a perfectly calibrated model with such
        errors is expected to score, because a bin's mean error is not quite 0 by chance.
    out_of_range: share of predictions outside reward_range.
    users, events; constant_users: those whose rewards are all equal, without pairs or order.

    Raises UserError, naming the model, for predictions that are not finite or no events.
    """
    predicted_E, reward_E = _checked(predicted_E, reward_E, user_E, name)
    totals_NC = _totals(predicted_E, reward_E, user_E, reward_range, name, in_context)
    measured = _metrics(totals_NC.sum(axis=0, keepdims=True), reward_range)
    return {metric: float(value_S[0]) for metric, value_S in measured.items()} | {
        "calibration_floor": _calibration_floor(predicted_E, reward_E, user_E, reward_range),
        "users": float(len(totals_NC)),
        "events": float(len(reward_E)),
        "constant_users": float(len(totals_NC) - totals_NC[:, _KNOWN].sum()),
    }


def quality_frame(
    predictions: Mapping[str, np.ndarray],
    reward_E: np.ndarray,
    user_E: np.ndarray,
    reward_range: tuple[float, float],
    generator: np.random.Generator,
    resamples: int = 1000,
    in_context: InContext | None = None,
) -> pd.DataFrame:
    """One row per model (index `model`): `quality`, and 95% intervals `<metric>_low`, `_high`.

    Intervals are percentiles over resamples of whole users, because a user's events are not
    independent; bins stay those of all users. All models see the same resamples. Every column is a
    number, so `frame.to_latex()`, parquet and W&B take it as it is.
    """
    given = (reward_E, user_E, reward_range)
    rows = [quality(p, *given, name, in_context) for name, p in predictions.items()]
    frame = pd.DataFrame(rows, index=pd.Index(list(predictions), name="model"))
    totals = [
        _totals(np.asarray(p, float), np.asarray(reward_E, float), *given[1:], name, in_context)
        for name, p in predictions.items()
    ]
    sums_SX = resampled_sums(np.concatenate(totals, axis=1), resamples, generator)
    drawn = [_metrics(sums_SC, reward_range) for sums_SC in np.split(sums_SX, len(totals), axis=1)]
    for metric in INTERVALS:
        values_SM = np.stack([each[metric] for each in drawn], axis=1)
        bounds_2M = np.full((2, len(drawn)), np.nan)
        for model, value_S in enumerate(values_SM.T):
            # A resample of nothing but constant users has no pairs; it says nothing.
            said_S = value_S[~np.isnan(value_S)]
            if len(said_S):
                bounds_2M[:, model] = np.percentile(said_S, [2.5, 97.5])
        frame[f"{metric}_low"], frame[f"{metric}_high"] = bounds_2M
    return frame


def variance_quartiles(
    variance_E: np.ndarray, predicted_E: np.ndarray, reward_E: np.ndarray
) -> pd.DataFrame:
    """The mean predicted variance of a reward, and the mean squared error, in the four quarters of
    events from the surest to the least sure; a calibrated variance is equal to the error."""
    order_E = np.argsort(variance_E, kind="stable")
    error_E = np.square(predicted_E - reward_E)
    quarters = [
        {"predicted": variance_E[part_E].mean(), "squared_error": error_E[part_E].mean()}
        for part_E in np.array_split(order_E, 4)
    ]
    return pd.DataFrame(quarters, index=pd.RangeIndex(1, 5, name="quarter"))


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


_EVENTS, _SQUARED, _ABSOLUTE, _OUTSIDE, _RIGHT, _KNOWN, _RANK, _IN_CONTEXT, _HAS_CONTEXT = range(9)
_MOMENTS = slice(9, 13)  # of predictions and rewards
_ERRORS = slice(13, 13 + BINS)  # in each bin of predictions


def _totals(
    predicted_E: np.ndarray,
    reward_E: np.ndarray,
    user_E: np.ndarray,
    reward_range: tuple[float, float],
    name: str,
    in_context: InContext | None,
) -> Floats:
    """Sums over the events of each user, [N, C], from which every metric follows."""
    index_E = np.unique(user_E, return_inverse=True)[1]
    low, high = reward_range
    accuracy_N = pairwise_accuracy(predicted_E, reward_E, user_E)
    known_N = ~np.isnan(accuracy_N)
    # All models are averaged over the same users.
    order_N = np.where(known_N, np.nan_to_num(spearman(predicted_E, reward_E, user_E)), 0.0)
    context_N = np.full(len(known_N), np.nan)
    if in_context is not None:
        asked_E, _ = _checked(in_context.predictions[name], reward_E, user_E, name)
        context_N = context_accuracy(asked_E, reward_E, user_E, in_context.context_E)
    error_E = predicted_E - reward_E
    # Centred, so that sums of squares keep their digits.
    x_E, y_E = predicted_E - predicted_E.mean(), reward_E - reward_E.mean()
    if np.ptp(predicted_E) == 0:
        x_E = np.zeros_like(x_E)
    outside_E = (predicted_E < low) | (predicted_E > high)
    before = (np.ones_like(error_E), np.square(error_E), np.abs(error_E), outside_E)
    moments = (x_E, y_E, x_E * x_E, x_E * y_E)
    per_user = (np.bincount(index_E, each_E) for each_E in before)
    of_order = (np.nan_to_num(accuracy_N), known_N, order_N)
    of_context = (np.nan_to_num(context_N), ~np.isnan(context_N))
    return np.column_stack(
        [
            *(*per_user, *of_order, *of_context),
            *(np.bincount(index_E, each_E) for each_E in moments),
            _by_user_and_bin(error_E, index_E, _bins(predicted_E)),
        ]
    )


def _metrics(sums_SC: Floats, reward_range: tuple[float, float]) -> dict[str, Floats]:
    """The metrics of S sums over users."""
    low, high = reward_range
    events_S, known_S = sums_SC[:, _EVENTS], sums_SC[:, _KNOWN]
    x_S, y_S, xx_S, xy_S = sums_SC[:, _MOMENTS].T
    spread_S = xx_S - x_S * x_S / events_S
    spread_S = np.where(spread_S > 1e-12 * xx_S, spread_S, 0.0)
    off_S = np.abs(sums_SC[:, _ERRORS]).sum(axis=1) / events_S
    return {
        "rmse": np.sqrt(sums_SC[:, _SQUARED] / events_S),
        "mae": sums_SC[:, _ABSOLUTE] / events_S,
        "pairwise_accuracy": ratio(sums_SC[:, _RIGHT], known_S),
        "context_accuracy": ratio(sums_SC[:, _IN_CONTEXT], sums_SC[:, _HAS_CONTEXT]),
        "spearman": ratio(sums_SC[:, _RANK], known_S),
        "calibration_slope": ratio(xy_S - x_S * y_S / events_S, spread_S),
        "calibration_error": off_S / (high - low) if high > low else np.full_like(off_S, np.nan),
        "out_of_range": sums_SC[:, _OUTSIDE] / events_S,
    }


def _bins(predicted_E: np.ndarray) -> np.ndarray:
    """The bin of each event; their counts differ by at most one."""
    bin_E = np.empty(len(predicted_E), dtype=np.int64)
    parts = np.array_split(np.argsort(predicted_E, kind="stable"), BINS)
    for number, part_E in enumerate(parts):
        bin_E[part_E] = number
    return bin_E


def _by_user_and_bin(values_E: np.ndarray, index_E: np.ndarray, bin_E: np.ndarray) -> Floats:
    users = int(index_E.max()) + 1
    sums = np.bincount(index_E * BINS + bin_E, values_E, users * BINS)
    return sums.reshape(users, BINS).astype(np.float64)


def _calibration_floor(
    predicted_E: np.ndarray,
    reward_E: np.ndarray,
    user_E: np.ndarray,
    reward_range: tuple[float, float],
) -> float:
    """The mean of |x| over bins for x ~ N(0, variance of the bin's mean error), in the unit of
    `calibration_error`; the errors of a user may hang together. NaN with a single user."""
    (low, high), bin_E = reward_range, _bins(predicted_E)
    index_E = np.unique(user_E, return_inverse=True)[1]
    users = int(index_E.max()) + 1
    if users == 1 or high == low:
        return float("nan")
    error_E = predicted_E - reward_E
    sum_B, count_B = np.bincount(bin_E, error_E, BINS), np.bincount(bin_E, minlength=BINS)
    left_E = error_E - (sum_B / np.maximum(count_B, 1))[bin_E]
    variance_B = (
        np.square(_by_user_and_bin(left_E, index_E, bin_E)).sum(axis=0) * users / (users - 1)
    )
    return float(np.sqrt(variance_B * 2 / np.pi).sum() / len(error_E) / (high - low))
