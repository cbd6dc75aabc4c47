"""Values that a method does not have at some target, such as the mean reward of an empty list."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_posttrain.stats.columns import columns_of

RUN = ("method", "place", "kind", "level", "strength", "seed")  # what tells its rows from others


def undefined_targets(frames: Iterable[pd.DataFrame], source: str) -> NDArray[np.bool_]:
    """At which targets, in the order that all frames share, one of them has no value.

    A frame without any value is of a method that does not have the column, and lacks none.
    """
    missing = [frame[source].isna().to_numpy() for frame in frames]
    found: NDArray[np.bool_] = np.logical_or.reduce([each & ~each.all() for each in missing])
    return found


def undefined_values(rows: pd.DataFrame) -> dict[str, int]:
    """Of each column of the table's rows, at how many targets; columns without any are left out."""
    names = [name for name in RUN if name in rows]
    frames = [frame for _, frame in rows.groupby(names, observed=True)]
    sources = {column.source for column in columns_of(rows.columns) if column.of_lists is None}
    counts = {name: int(undefined_targets(frames, name).sum()) for name in sorted(sources)}
    return {name: count for name, count in counts.items() if count}
