"""Worlds in which reward noise costs much: one good action against worthless rivals.

The good action comes first and is worth `gap`. A nearly greedy tilt loses good_share * gap whenever
the largest error among the rivals passes gap + the error of the good action.
"""

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import log_ndtr
from scipy.stats import norm

from recsys_posttrain.worlds.tabular import Tabular, rows


def hard_world(items: int, gap: float, good_share: float, rivals: int) -> Tabular:
    """The reference takes the good action with `good_share`, the first `rivals` of the others
    equally often, and the rest never."""
    reward_XV, reference_XV = np.zeros((2, 1, items))
    reward_XV[0, 0], reference_XV[0, 0] = gap, good_share
    reference_XV[0, 1 : rivals + 1] = (1 - good_share) / rivals
    return Tabular(rows(reward_XV), rows(reference_XV), (1.0,))


def gap_in_sigmas(rivals: int, probability: float) -> float:
    """g with P(max of `rivals` standard normals - another one > g) = probability."""

    def excess(gap: float) -> float:
        def hidden_by_none(own: float) -> float:
            return float(norm.pdf(own) * np.exp(rivals * log_ndtr(gap + own)))

        return 1 - quad(hidden_by_none, -9, 9, limit=200)[0] - probability

    return float(brentq(excess, 0, 20))
