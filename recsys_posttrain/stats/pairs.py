"""All pairs of methods in a column: which differ, which are equal, and what a reader needs of it.

The family of the tests of a column is all its pairs, of the differences and, apart, of the
equivalences; each is corrected after Holm. Two methods that no test separates need not be equal:
that is a claim of its own, with a margin and a p-value.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_posttrain.basic_statistics import Floats
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats.bootstrap import ALPHA, equivalence_p, interval, p_value
from recsys_posttrain.stats.columns import Column
from recsys_posttrain.stats.significance import holm

MARGIN = 0.1  # of the control's value, or of a star
FIELDS = (
    *("column", "method", "other", "difference", "low", "high", "p_value", "p_holm"),
    *("margin", "p_equal", "p_equal_holm"),
)


def margin_of(column: Column, of_control: float, scale: RewardScale, share: float) -> float:
    """Up to which difference two methods count as equal: a share of the control's value, and of a
    column in rewards, whose zero is arbitrary, a share of a star; in the column's unit."""
    return share * (scale.unit if column.in_rewards else abs(of_control))


def compared_pairs(
    column: str,
    methods: Sequence[str],
    differences: Iterable[tuple[float, Floats]],
    margin: float,
) -> list[dict[str, object]]:
    """A row for each pair, the first in the order of the table: `FIELDS`. differences: value and
    draws [R] of the first minus the second, in the order of np.triu_indices."""
    first_P, second_P = np.triu_indices(len(methods), 1)
    p_P, equal_P, bounds_P = [], [], []
    for value, draws_R in differences:
        p_P.append(p_value(draws_R))
        equal_P.append(equivalence_p(draws_R, margin))
        bounds_P.append(interval(value, draws_R))
    return [
        {
            "column": column,
            "method": methods[first],
            "other": methods[second],
            "difference": found.value,
            "low": found.low,
            "high": found.high,
            "p_value": p,
            "p_holm": p_holm,
            "margin": margin,
            "p_equal": equal,
            "p_equal_holm": equal_holm,
        }
        for first, second, found, p, p_holm, equal, equal_holm in zip(
            first_P, second_P, bounds_P, p_P, holm(p_P), equal_P, holm(equal_P), strict=True
        )
    ]


def separated(pairs: pd.DataFrame, methods: Sequence[str]) -> NDArray[np.bool_]:
    """Which methods of one column a test separates: [M, M]. pairs: of that column."""
    return _among(pairs, methods, pairs["p_holm"] <= ALPHA)


def equal(pairs: pd.DataFrame, methods: Sequence[str]) -> NDArray[np.bool_]:
    """Which methods of one column are equal within its margin: [M, M]."""
    return _among(pairs, methods, pairs["p_equal_holm"] <= ALPHA)


def _among(pairs: pd.DataFrame, methods: Sequence[str], holds: pd.Series) -> NDArray[np.bool_]:
    place = {name: number for number, name in enumerate(methods)}
    found_MM = np.zeros((len(methods), len(methods)), dtype=bool)
    first_P, second_P = (pairs.loc[holds, side].map(place) for side in ("method", "other"))
    found_MM[first_P, second_P] = found_MM[second_P, first_P] = True
    return found_MM


def wins(pairs: pd.DataFrame, methods: Sequence[str], higher_is_better: bool) -> NDArray[np.int_]:
    """How many other methods of one column a test puts each above, and below: [M, 2]. pairs: of
    that column."""
    apart = pairs[pairs["p_holm"] <= ALPHA]
    first, second = apart["method"], apart["other"]
    is_above = (apart["difference"] > 0) == higher_is_better
    sides = first.where(is_above, second), second.where(is_above, first)
    return np.stack(
        [each.value_counts().reindex(list(methods), fill_value=0) for each in sides], axis=1
    )
