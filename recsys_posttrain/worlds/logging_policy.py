"""The choice of the next item: by popularity, preference, taste and similarity to the last item.

    pi(i | u, j) ~ popularity_i  exp(a r*(u, i))  taste(u, i)^b  follows(j, i)^c

over the items that u has not seen, j being the item before in the same sitting (without the last
factor for the first). Only the second factor is meant to follow reward, so imitating the log is not
the best policy. Popularity is fitted such that, without the last factor, every item is expected to
be chosen as often as in the real log.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, diags_array
from sklearn.decomposition import TruncatedSVD  # type: ignore[import-untyped]

from recsys_posttrain.config import require

SITTING = 3600  # seconds: a longer pause ends a sitting
NEARBY = 3  # events of a sitting that count as following one another
PRIOR = 1.0  # pairs that every pair of items is expected to have had besides the counted ones
RARE = 20.0  # views added to an item where taste is estimated
LEAST = 0.05  # taste's lift is at least this
ROUNDS = 12


class Log(NamedTuple):
    """Events by user, in time order; N users, V items, both numbered from 0."""

    user_E: np.ndarray
    item_E: np.ndarray
    time_E: np.ndarray  # seconds
    lengths_N: np.ndarray
    num_items: int

    @property
    def sitting_E(self) -> np.ndarray:
        """The number of each event's sitting, counted over all users."""
        begins_E = np.diff(self.user_E, prepend=-1) != 0
        begins_E |= np.diff(self.time_E, prepend=0) >= SITTING
        return np.asarray(begins_E.cumsum())


class Weights(NamedTuple):
    """Unnormalised probabilities of the next item: item_NV, times follows_VV in a sitting."""

    item_NV: np.ndarray  # float32: popularity, preference and taste
    follows_VV: np.ndarray  # float32: row = the item before


@dataclass(frozen=True)
class LoggingPolicy:
    """The strengths of the parts of a choice, in the formula above.

    Defaults: by eye, such that `calibration` finds ML-100K's log like the real one.
    """

    preference: float = 0.2  # a, per star of r*
    taste: float = 1.2  # b
    dynamics: float = 1.0  # c
    taste_rank: int = 16  # of the taste factors

    def __post_init__(self) -> None:
        require(self.taste_rank >= 1, f"taste_rank is {self.taste_rank}; give 1 or more factors")

    def weights(self, log: Log, reward_NV: np.ndarray, seed: int) -> Weights:
        """Fitted on a real log; reward_NV: r*, float32."""
        affinity_NV = self.preference * (reward_NV - reward_NV.mean(axis=1, keepdims=True))
        affinity_NV += self.taste * np.log(taste_lift(log, self.taste_rank, seed))
        affinity_NV = np.exp(affinity_NV)
        affinity_NV *= fitted_popularity(affinity_NV, log)
        return Weights(affinity_NV, follow_lift(log) ** np.float32(self.dynamics))


def taste_lift(log: Log, rank: int, seed: int) -> np.ndarray:
    """How much more often than popularity says a user watches an item, at least LEAST, [N, V].

    A low-rank correspondence analysis (M. Greenacre, 1984) of the user-item incidence, with RARE
    views added to each item:  1 + sum_k sigma_k x_uk y_ik.
    """
    seen_NV = csr_array(
        (np.ones(len(log.item_E)), (log.user_E, log.item_E)),
        shape=(len(log.lengths_N), log.num_items),
    )
    root_N = 1 / np.sqrt(log.lengths_N)
    root_V = 1 / np.sqrt(np.bincount(log.item_E, minlength=log.num_items) + RARE)
    scaled_NV = diags_array(root_N) @ seen_NV @ diags_array(root_V)
    analysis = TruncatedSVD(rank + 1, random_state=seed % 2**32)
    # The first component is popularity itself.
    user_NR = analysis.fit_transform(scaled_NV)[:, 1:] * root_N[:, None]
    item_RV = analysis.components_[1:] * root_V
    total = len(log.item_E)
    lift_NV = (total * user_NR).astype(np.float32) @ item_RV.astype(np.float32)
    return np.asarray(np.maximum(lift_NV + 1, np.float32(LEAST)))


def follow_lift(log: Log) -> np.ndarray:
    """How much more often than chance two items are within NEARBY events of a sitting, [V, V].

    (count + PRIOR) / (count expected by chance + PRIOR), in either order.
    """
    sitting_E = log.sitting_E
    pairs_VV = np.zeros((log.num_items, log.num_items), dtype=np.float32)
    for distance in range(1, NEARBY + 1):
        together = sitting_E[distance:] == sitting_E[:-distance]
        before, after = log.item_E[:-distance][together], log.item_E[distance:][together]
        np.add.at(pairs_VV, (before, after), 1)
        np.add.at(pairs_VV, (after, before), 1)
    count_V = pairs_VV.sum(axis=1, dtype=np.float64)
    chance_VV = np.outer(count_V, count_V / max(count_V.sum(), 1)).astype(np.float32)
    return (pairs_VV + PRIOR) / (chance_VV + PRIOR)


def fitted_popularity(affinity_NV: np.ndarray, log: Log) -> np.ndarray:
    """The popularity_V with which weights popularity x affinity give each item its real count.

    Choosing without replacement is a race of exponential clocks with the weights as rates: a user
    has seen item i by time T_u with probability 1 - exp(-T_u weight_ui). By turns T_u gives users
    their lengths and popularity gives items their counts. Which item follows which is left out.
    """
    count_V = np.bincount(log.item_E, minlength=log.num_items).astype(np.float32)
    length_N = log.lengths_N.astype(np.float32)
    popularity_V = count_V / count_V.sum()
    time_N = length_N / (affinity_NV @ popularity_V)
    for _ in range(ROUNDS):
        rate_NV = affinity_NV * popularity_V
        unseen_NV = np.exp(-time_N[:, None] * rate_NV)
        newton_N = (length_N - (1 - unseen_NV).sum(axis=1)) / (rate_NV * unseen_NV).sum(axis=1)
        time_N = np.clip(time_N + newton_N, time_N / 2, time_N * 2)
        seen_NV = 1 - np.exp(-time_N[:, None] * rate_NV)
        popularity_V = popularity_V * count_V / seen_NV.sum(axis=0)
    return np.asarray(popularity_V)
