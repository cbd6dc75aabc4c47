"""Naive reward models that a learned one must beat, on exactly the same events.

A baseline learns from the users of `fit` and predicts, for other users, every event after a
user's first from events strictly before it. The time of the predicted event is known (it is
when the recommendation is asked for); its reward and everything later is not.

Two rules keep rewards from leaking into their own prediction. Sums over a user's past are shifted
inside that user, never subtracted, so r_t cannot reach the prediction at t even by rounding. And
wherever something is fitted on `fit`, an item's mean comes from the users of other folds, which
is the place of a held-out user: someone the item's mean has never seen. (Leaving out only the
user at hand is worse: for one item that mean falls as the left-out reward rises, and boosted
trees find it; on two splits of MovieLens 100K it cost the default trees .011 and .016 of RMSE,
and more with more trees.)
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits

from recsys_posttrain.errors import UserError
from recsys_posttrain.types import Sequences

# (fit, held_out, number of items V, block) -> predictions in the order of
# `judged_events(held_out, block)`, each from the history of its context.
Baseline = Callable[[Sequences, Sequences, int, int], np.ndarray]
BLOCK = 20  # judged events in a row that are predicted from one history, to compare their order

# Candidate pseudo-counts; the one with the least squared error on `fit` is used.
DAMPINGS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
FOLDS = 10


class JudgedEvents(NamedTuple):
    """The events that every reward model is judged on: all but each user's first, in flat order.

    E counts judged events here. index_E: their places in the flat arrays of the Sequences.
    """

    index_E: np.ndarray  # int64
    reward_E: np.ndarray  # float64
    user_E: np.ndarray  # int64, index of the sequence
    context_E: np.ndarray  # int64: the history that it is predicted from ends before this event


def judged_events(held_out: Sequences, block: int = 1) -> JudgedEvents:
    """Users with fewer than two events have none.

    block: a user's judged events are cut into blocks of so many, and all of one are predicted from
        the history before the first of them, at its time.
    """
    log = _flat(held_out, block)
    index_E = np.flatnonzero(log.position_E > 0)
    return JudgedEvents(index_E, log.reward_E[index_E], log.user_E[index_E], log.context_E[index_E])


def global_mean(fit: Sequences, held_out: Sequences, _num_items: int, block: int = 1) -> np.ndarray:
    """mu, the mean reward of all fit events."""
    judged = judged_events(held_out, block)
    return np.full(len(judged.index_E), _mean(_flat(fit)))


def user_mean(_fit: Sequences, held_out: Sequences, _num_items: int, block: int = 1) -> np.ndarray:
    """The mean of the user's rewards strictly before t; nothing is learned from others."""
    log = _flat(held_out, block)
    # Not centred: sums of whole stars are exact, so that equal means are equal predictions.
    return _judged(log, _past_sum(log, log.reward_E) / np.maximum(log.position_E, 1))


def item_mean(fit: Sequences, held_out: Sequences, num_items: int, block: int = 1) -> np.ndarray:
    """`damped_means` of the item; the mean of the log for items nobody in `fit` rated."""
    held = _flat(held_out, block)
    return _judged(held, damped_means(fit, num_items)[held.item_E])


def damped_means(fit: Sequences, num_items: int, damping: float | None = None) -> np.ndarray:
    """mu + b_i of each item, [V], with b_i = sum_i (r - mu) / (n_i + damping).

    damping: None: the one of DAMPINGS with the least squared error on the judged events of `fit`,
        with sums over the users of other folds.
    """
    log, mean = _flat(fit), _mean(_flat(fit))
    if damping is None:
        others = _of_other_folds(log, num_items, mean)
        error_E = log.reward_E - mean
        damping = min(
            DAMPINGS, key=lambda value: _squared(_judged(log, error_E - _damped(others, value)))
        )
    sum_V = np.bincount(log.item_E, weights=log.reward_E - mean, minlength=num_items)
    count_V = np.bincount(log.item_E, minlength=num_items)
    is_rated_V = count_V > 0  # with a damping of 0 the others have no bias
    bias_V = np.divide(sum_V, count_V + damping, where=is_rated_V, out=np.zeros(num_items))
    return np.asarray(mean + bias_V)


def user_item_bias(
    fit: Sequences, held_out: Sequences, num_items: int, block: int = 1
) -> np.ndarray:
    """mu + b_i + b_u(t), of damped means.

    b_i    = sum over fit events of i of (r - mu)          / (n_i + damping_i)
    b_u(t) = sum over the user's s < t of (r_s - mu - b_i) / (t + damping_u)

    The pair of dampings is the one of DAMPINGS x DAMPINGS with the least squared error on the
    judged events of `fit`, with item sums over the users of other folds.
    """
    log, mean = _flat(fit), _mean(_flat(fit))
    damping = _bias_damping(log, num_items, mean)
    held = _flat(held_out, block)
    items = _of_items(log, held, num_items, mean)
    return _judged(held, mean + _damped(items, damping[0]) + _user_bias(held, items, mean, damping))


def gradient_boosting(
    fit: Sequences, held_out: Sequences, num_items: int, block: int = 1
) -> np.ndarray:
    """scikit-learn's HistGradientBoostingRegressor on features of events before t.

    Features: mean, deviation, count and last of the user's past rewards; the user's and the
    item's damped bias; the item's number of ratings; log seconds since the user's last event.
    Trained on the judged events of `fit`, with item statistics over the users of other folds.
    scikit-learn's default trees, all of them (no early stopping on a random part of the events),
    and a fixed seed, so that the same data gives the same predictions. By one thread: the parts of
    a tree are so short that two wait for each other, for minutes where a core is busy.
    """
    log, mean = _flat(fit), _mean(_flat(fit))
    if not (log.position_E > 0).any():
        raise UserError("gradient boosting needs a user with at least two events to learn from")
    damping = _bias_damping(log, num_items, mean)
    others = _of_other_folds(log, num_items, mean)
    model = HistGradientBoostingRegressor(early_stopping=False, random_state=0)
    with threadpool_limits(1, user_api="openmp"):
        model.fit(_features(log, others, mean, damping), _judged(log, log.reward_E))
    held = _flat(held_out, block)
    features_EF = _features(held, _of_items(log, held, num_items, mean), mean, damping)
    return np.asarray(model.predict(features_EF)) if len(features_EF) else np.zeros(0)


NAIVE_BASELINES: tuple[tuple[str, Baseline], ...] = (
    ("global mean", global_mean),
    ("user mean", user_mean),
    ("item mean", item_mean),
    ("user + item bias", user_item_bias),
    ("gradient boosting", gradient_boosting),
)


class _Log(NamedTuple):
    """Sequences as flat NumPy arrays over all E events."""

    item_E: np.ndarray  # int64, 0..V-1
    reward_E: np.ndarray  # float64
    time_E: np.ndarray  # int64
    user_E: np.ndarray  # int64
    position_E: np.ndarray  # int64, events of the user before the context: 0 at the first event
    context_E: np.ndarray  # int64: the event whose history is used; of blocks of 1, itself


class _ItemStatistics(NamedTuple):
    """Features of each event's item: the sum of its r - mu, and its number of ratings."""

    sum_E: np.ndarray
    count_E: np.ndarray


def _flat(sequences: Sequences, block: int = 1) -> _Log:
    offsets_N1 = sequences.offsets_N1.numpy()
    lengths_N = np.diff(offsets_N1)
    place_E = np.arange(offsets_N1[-1]) - np.repeat(offsets_N1[:-1], lengths_N)
    in_block_E = np.where(place_E > 0, (place_E - 1) % block, 0)
    return _Log(
        sequences.items_E.numpy() - 1,
        sequences.rewards_E.numpy().astype(np.float64),
        sequences.timestamps_E.numpy(),
        np.repeat(np.arange(len(lengths_N)), lengths_N),
        place_E - in_block_E,
        np.arange(offsets_N1[-1]) - in_block_E,
    )


def _judged(log: _Log, values_E: np.ndarray) -> np.ndarray:
    return values_E[log.position_E > 0]


def _mean(log: _Log) -> float:
    if not len(log.reward_E):
        raise UserError("the users that the reward model may learn from have no events")
    return float(log.reward_E.mean())


def _squared(error_E: np.ndarray) -> float:
    return float(np.square(error_E).sum())


def _past_sum(log: _Log, values_E: np.ndarray) -> np.ndarray:
    """Sum of the user's values strictly before each event's context; 0 at the first."""
    total_E = pd.Series(values_E).groupby(log.user_E, sort=False).cumsum().to_numpy()
    return np.where(log.position_E > 0, np.roll(total_E, 1)[log.context_E], 0.0)


def _of_items(log: _Log, events: _Log, num_items: int, mean: float) -> _ItemStatistics:
    """Statistics over `log` of the item of each of `events`."""
    sum_V = np.bincount(log.item_E, weights=log.reward_E - mean, minlength=num_items)
    count_V = np.bincount(log.item_E, minlength=num_items)
    return _ItemStatistics(sum_V[events.item_E], count_V[events.item_E])


def _of_other_folds(log: _Log, num_items: int, mean: float) -> _ItemStatistics:
    """The same for each event of `log` itself, over the users of the other FOLDS - 1 folds."""
    cell_E = (log.user_E % FOLDS) * num_items + log.item_E
    size = FOLDS * num_items
    sum_FV = np.bincount(cell_E, log.reward_E - mean, size).reshape(FOLDS, num_items)
    count_FV = np.bincount(cell_E, minlength=size).reshape(FOLDS, num_items)
    return _ItemStatistics(
        (sum_FV.sum(axis=0) - sum_FV).ravel()[cell_E],
        (count_FV.sum(axis=0) - count_FV).ravel()[cell_E],
    )


def _damped(items: _ItemStatistics, damping: float) -> np.ndarray:
    return np.asarray(items.sum_E / (items.count_E + damping))


def _user_bias(
    log: _Log, items: _ItemStatistics, mean: float, damping: tuple[float, float]
) -> np.ndarray:
    past_E = _past_sum(log, log.reward_E - mean - _damped(items, damping[0]))
    return np.asarray(past_E / (log.position_E + damping[1]))


def _bias_damping(log: _Log, num_items: int, mean: float) -> tuple[float, float]:
    """(damping_i, damping_u) of `user_item_bias`."""
    others = _of_other_folds(log, num_items, mean)

    def error(damping: tuple[float, float]) -> float:
        rest_E = log.reward_E - mean - _damped(others, damping[0])
        return _squared(_judged(log, rest_E - _user_bias(log, others, mean, damping)))

    return min(product(DAMPINGS, DAMPINGS), key=error)


def _features(
    log: _Log, items: _ItemStatistics, mean: float, damping: tuple[float, float]
) -> np.ndarray:
    """[judged events, 8]; every column reads rewards strictly before the event."""
    count_E = np.maximum(log.position_E, 1)
    centred_E = log.reward_E - mean
    past_mean_E = _past_sum(log, centred_E) / count_E
    past_square_E = _past_sum(log, np.square(centred_E)) / count_E
    columns = (
        past_mean_E,
        np.sqrt(np.maximum(past_square_E - np.square(past_mean_E), 0)),
        log.position_E,
        np.roll(log.reward_E, 1)[log.context_E],
        _user_bias(log, items, mean, damping),
        _damped(items, damping[0]),
        items.count_E,
        np.log1p(np.maximum(log.time_E - np.roll(log.time_E, 1), 0))[log.context_E],
    )
    return np.column_stack([_judged(log, column_E) for column_E in columns])
