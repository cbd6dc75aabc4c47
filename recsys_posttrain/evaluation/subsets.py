"""Which targets a metric is averaged over, and with which weight.

A subset is a function (rows of `per_user_frame`, RewardScale) -> weight_N; 0 leaves a target
out. A new one is one function.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_posttrain.errors import UserError

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class RewardScale:
    """Where the dataset's reward counts as liked, top and disliked; defaults for 1..5 stars.

    zero: the reward that carries no weight in `reward_weighted` (-10 on a -10..10 scale).
    """

    liked: float = 4.0
    top: float = 5.0
    disliked: float = 2.0
    zero: float = 0.0


Subset = Callable[[pd.DataFrame, RewardScale], Weights]


def all_targets(rows: pd.DataFrame, scale: RewardScale) -> Weights:
    return np.ones(len(rows))


def liked(rows: pd.DataFrame, scale: RewardScale) -> Weights:
    return _weights(rows["reward"] >= scale.liked)


def top_rated(rows: pd.DataFrame, scale: RewardScale) -> Weights:
    """Targets with the scale's highest reward (arXiv 2603.10279)."""
    return _weights(rows["reward"] >= scale.top)


def disliked(rows: pd.DataFrame, scale: RewardScale) -> Weights:
    """Targets that should not be recommended: here a lower metric is better."""
    return _weights(rows["reward"] <= scale.disliked)


def above_median(rows: pd.DataFrame, scale: RewardScale) -> Weights:
    """Targets of users whose summed training reward is above the median user's."""
    per_user = rows.drop_duplicates("user_id")["total_reward"]
    return _weights(rows["total_reward"] > per_user.median())


def reward_weighted(rows: pd.DataFrame, scale: RewardScale) -> Weights:
    """Every target, weighted by its reward above `scale.zero`."""
    weight_N = _weights(rows["reward"] - scale.zero)
    if (weight_N < 0).any():
        lowest = rows["reward"].min()
        raise UserError(
            f"a reward is {lowest:g}, below the zero of its scale ({scale.zero:g}): "
            f"set RewardScale(zero={lowest:g}) or lower"
        )
    return weight_N


def _weights(values: "pd.Series[bool] | pd.Series[float]") -> Weights:
    return np.asarray(values, dtype=np.float64)
