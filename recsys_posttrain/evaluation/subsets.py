"""Which targets a metric is averaged over, and with which weight.

A subset is a function (rows of `per_user_frame`, RewardScale) -> weight_N; 0 leaves a target
out. A new one is one function.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_posttrain.reward_scale import RewardScale

Weights = NDArray[np.float64]
Subset = Callable[[pd.DataFrame, RewardScale], Weights]


def all_targets(rows: pd.DataFrame, scale: RewardScale) -> Weights:
    """Every target, with weight 1."""
    return np.ones(len(rows))


def liked(rows: pd.DataFrame, scale: RewardScale) -> Weights:
    """Targets whose reward counts as liked on the scale."""
    return _weights(rows["reward"] >= scale.liked)


def top_rated(rows: pd.DataFrame, scale: RewardScale) -> Weights:
    """Targets with the scale's highest reward (arXiv 2603.10279)."""
    return _weights(rows["reward"] >= scale.top)


def disliked(rows: pd.DataFrame, scale: RewardScale) -> Weights:
    """Targets that should not be recommended: here a lower metric is better."""
    return _weights(rows["reward"] <= scale.disliked)


def reward_weighted(rows: pd.DataFrame, scale: RewardScale) -> Weights:
    """Every target, weighted by its reward above `scale.zero`."""
    return _weights((rows["reward"] - scale.zero) / scale.unit)  # in stars: alike in every unit


@dataclass(frozen=True)
class BySignal:
    """Every target, weighted by this column of the rows, a signal in the log's own unit."""

    source: str

    def __call__(self, rows: pd.DataFrame, scale: RewardScale) -> Weights:
        return _weights(rows[self.source])


def unusable(subset: Subset, weight_N: Weights, scale: RewardScale) -> str:
    """Why nothing can be said over these targets; empty where something can."""
    if isinstance(subset, BySignal):
        if (weight_N < 0).any():
            return "some values are below 0"
        return "" if weight_N.any() else "it is 0 at every target"
    if subset not in (liked, top_rated, disliked, reward_weighted):
        return "" if weight_N.any() else "no target"
    if scale.missing:
        return scale.missing
    if (weight_N < 0).any():
        return f"some rewards are below zero ({scale.shown(scale.zero)})"
    if not weight_N.any():
        return "no target"
    return "every target alike" if np.ptp(weight_N) == 0 else ""


def _weights(values: "pd.Series[bool] | pd.Series[float]") -> Weights:
    return np.asarray(values, dtype=np.float64)
