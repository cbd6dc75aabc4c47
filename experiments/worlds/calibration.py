"""How much a world's log looks like the real one, in figures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array
from scipy.stats import ks_2samp

from recsys_posttrain.evaluation.metrics import gini
from recsys_posttrain.types import Interactions
from recsys_posttrain.worlds.base import World

FREQUENT = 200  # the most watched items, whose pairs are compared
ENOUGH = 20  # ratings of an item whose mean is compared
DAY = 86_400  # seconds
RERATED = (0.42, 0.57)  # stars: the lowest and highest noise of re-rating experiments
EVENTS_AT_A_TIME = 10_000
REPEATED = 3  # times a step from one item to the next has to occur to count as repeated


@dataclass(frozen=True, eq=False)
class Shape:
    """What is compared of a log."""

    rating_E: np.ndarray
    user_mean_N: np.ndarray
    item_mean_V: np.ndarray  # of the items with ENOUGH ratings
    length_N: np.ndarray  # events per user
    count_V: np.ndarray  # events per item, falling
    jaccard_P: np.ndarray  # of the users of two FREQUENT items, for all pairs
    lift_P: np.ndarray  # users of both x users / (users of one x users of the other)
    step_E: np.ndarray  # for every step of a user from item to item, how often the log has it
    time_E: np.ndarray  # seconds


def shape_of(log: Interactions) -> Shape:
    """Measure a log, whose rows may be in any order; ties in time keep that order."""
    frame = log.frame.sort_values(["user_id", "timestamp"], kind="stable")
    user_E, _ = pd.factorize(frame["user_id"])
    item_E, _ = pd.factorize(frame["item_id"])
    count_V = np.bincount(item_E)
    item_mean_V = np.bincount(item_E, frame["rating"]) / count_V
    jaccard_P, lift_P = pair_overlap(user_E, item_E)
    return Shape(
        rating_E=frame["rating"].to_numpy(),
        user_mean_N=np.bincount(user_E, frame["rating"]) / np.bincount(user_E),
        item_mean_V=item_mean_V[count_V >= ENOUGH],
        length_N=np.bincount(user_E),
        count_V=np.sort(count_V)[::-1],
        jaccard_P=jaccard_P,
        lift_P=lift_P,
        step_E=step_counts(user_E, item_E),
        time_E=frame["timestamp"].to_numpy() // log.ticks_per_second,
    )


def pair_overlap(
    user_E: np.ndarray, item_E: np.ndarray, frequent: int = FREQUENT
) -> tuple[np.ndarray, np.ndarray]:
    """(Jaccard, lift) of the sets of users, for all pairs of the `frequent` most watched items."""
    seen_NV = csr_array((np.ones(len(user_E)), (user_E, item_E)))
    count_V: np.ndarray = seen_NV.sum(axis=0)
    top_K = np.argsort(-count_V, kind="stable")[:frequent]
    seen_NK, count_K = seen_NV[:, top_K], count_V[top_K]
    both_KK = (seen_NK.T @ seen_NK).toarray()
    pair = np.triu_indices(len(top_K), 1)
    either_KK = count_K[:, None] + count_K - both_KK
    chance_KK = np.outer(count_K, count_K) / seen_NV.shape[0]
    return (both_KK / either_KK)[pair], (both_KK / chance_KK)[pair]


def step_counts(user_E: np.ndarray, item_E: np.ndarray) -> np.ndarray:
    """For every step from an item to the user's next, how often all users took it."""
    stays_E = user_E[1:] == user_E[:-1]
    step_E = item_E[:-1][stays_E] * (item_E.max() + 1) + item_E[1:][stays_E]
    _, index_E, count_S = np.unique(step_E, return_inverse=True, return_counts=True)
    return np.asarray(count_S[index_E])


def total_variation(one_K: np.ndarray, other_K: np.ndarray) -> float:
    """Half the sum of differences of two histograms, each divided by its sum; 0 to 1."""
    return float(np.abs(one_K / one_K.sum() - other_K / other_K.sum()).sum() / 2)


def calibration(real: Interactions, world: Interactions) -> pd.DataFrame:
    """One row per figure: `real`, `world` and the `distance` of the distributions behind it.

    The distance is the total variation of ratings and of popularity by rank, and the
    Kolmogorov-Smirnov statistic of everything else; NaN where an earlier row has it.
    """
    logs = shape_of(real), shape_of(world)
    rows = [
        _row("rating, mean", logs, "rating_E", np.mean, _of_stars),
        _row("rating, sd", logs, "rating_E", np.std),
        _row("user mean rating, sd", logs, "user_mean_N", np.std, _ks),
        _row(f"item mean rating, sd (>= {ENOUGH})", logs, "item_mean_V", np.std, _ks),
        _row("events per user, median", logs, "length_N", np.median, _ks),
        _row("events per user, 95%", logs, "length_N", _highest_twentieth),
        _row("events per item, Gini", logs, "count_V", _gini, _of_ranks),
        _row("events per item, highest", logs, "count_V", np.max),
        _row("items watched", logs, "count_V", len),
        _row("frequent pairs, median Jaccard", logs, "jaccard_P", np.median, _ks),
        _row("frequent pairs, 95% Jaccard", logs, "jaccard_P", _highest_twentieth),
        _row("frequent pairs, median lift", logs, "lift_P", np.median, _ks),
        _row("frequent pairs, 95% lift", logs, "lift_P", _highest_twentieth),
        _row(f"steps taken >= {REPEATED} times, share", logs, "step_E", _repeated, _ks),
        _row("days from first to last event", logs, "time_E", _days, _ks),
    ]
    return pd.DataFrame(rows, columns=["figure", "real", "world", "distance"])


def _row(
    figure: str,
    logs: tuple[Shape, Shape],
    field: str,
    measure: Callable[[np.ndarray], Any],
    distance: Callable[[np.ndarray, np.ndarray], float] = lambda *_: float("nan"),
) -> tuple[str, float, float, float]:
    real, world = (getattr(log, field) for log in logs)
    return figure, float(measure(real)), float(measure(world)), distance(real, world)


def _ks(one: np.ndarray, other: np.ndarray) -> float:
    return float(ks_2samp(one, other).statistic)


def _of_stars(one_E: np.ndarray, other_E: np.ndarray) -> float:
    edges = np.append(np.union1d(one_E, other_E), np.inf)
    return total_variation(np.histogram(one_E, edges)[0], np.histogram(other_E, edges)[0])


def _of_ranks(one_V: np.ndarray, other_V: np.ndarray) -> float:
    ranks = max(len(one_V), len(other_V))
    padded = [np.pad(count_V, (0, ranks - len(count_V))) for count_V in (one_V, other_V)]
    return total_variation(*padded)


def _highest_twentieth(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.95))


def _gini(count_V: np.ndarray) -> float:
    return gini(np.repeat(np.arange(1, len(count_V) + 1), count_V), len(count_V))


def _repeated(step_E: np.ndarray) -> float:
    return float((step_E >= REPEATED).mean())


def _days(time_E: np.ndarray) -> float:
    return float(np.ptp(time_E) / DAY)


def scatter(world: World) -> tuple[str, float, float, float]:
    """A further row: the standard deviation of the log's ratings about their expectations. `real`:
    the middle of what people were found to have who were asked again (preferences.py)."""
    truth, frame = world.truth(), world.load().frame
    user_E = pd.Index(truth.user_ids).get_indexer(frame["user_id"])
    item_E = pd.Index(truth.item_ids).get_indexer(frame["item_id"])
    users_E, items_E1 = torch.from_numpy(user_E), torch.from_numpy(item_E + 1)[:, None]
    parts = zip(users_E.split(EVENTS_AT_A_TIME), items_E1.split(EVENTS_AT_A_TIME), strict=True)
    mean_E = torch.cat([truth.rewards_of(*part) for part in parts])[:, 0].numpy()
    found = float((frame["rating"].to_numpy() - mean_E).std())
    return "rating about its expectation, sd", float(np.mean(RERATED)), found, float("nan")
