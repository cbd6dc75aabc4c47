"""Rows of a log that were shown and not chosen: never history, never targets, but negatives.

A column `chosen` says so, 1 or 0; with a column `shown` rows that were neither are left out. What
was shown together is what one user has at one time. S items that were shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_posttrain.config import require
from recsys_posttrain.data.notes import counted, note

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa  # type: ignore[import-untyped]

    from recsys_posttrain.data.columns import Column
    from recsys_posttrain.logged import Interactions, Shown

SLATE = ["user_id", "timestamp"]


def chosen_rows(columns: Mapping[str, Column]) -> np.ndarray | None:
    """Which rows are choices; None: all are, the log has no such column.

    Raises: UserError: a value is not 0 or 1, no row is a choice, or only `shown` is there.
    """
    from recsys_posttrain.data.columns import read_numbers

    flags = {}
    for name in ("chosen", "shown"):
        if name in columns:
            flags[name] = read_numbers(columns[name])
            is_flag_E = np.isin(flags[name], (0, 1))
            columns[name].plain().check(is_flag_E, f"{columns[name].name} must be 0 or 1")
    if not flags:
        return None
    path = columns["user_id"].path
    require(
        "chosen" in flags,
        f"{path} has a column {columns.get('shown', columns['user_id']).name}, and none that says "
        "which of its rows were chosen; name that with --columns chosen=NAME, or give the first "
        "another name if all rows are choices.",
    )
    is_chosen_E = flags["chosen"] == 1
    require(is_chosen_E.any(), f"{path}: no row is chosen; {columns['chosen'].name} is 0 in all.")
    return np.asarray(is_chosen_E)


def shown_rows(
    frame: pd.DataFrame, is_chosen_E: np.ndarray, columns: Mapping[str, Column]
) -> pd.DataFrame:
    """Those of the frame that were shown and not chosen. How many is said in one line."""
    from recsys_posttrain.data.columns import read_numbers

    is_shown_E = ~is_chosen_E
    if "shown" in columns:
        is_shown_E = is_shown_E & (read_numbers(columns["shown"]) == 1)
    shown, choices = frame.loc[is_shown_E, [*SLATE, "item_id"]], frame.loc[is_chosen_E, SLATE]
    alone = len(shown) - int(_slates(choices, shown)[2].sum())
    text = f"{counted(len(shown), 'row')} shown and not chosen: negatives, never history or targets"
    if alone:
        text += f"; {alone:,} of them are left out, beside no choice of that user at that time"
    if neither := int((~is_chosen_E & ~is_shown_E).sum()):
        text += f"; {counted(neither, 'row')} neither shown nor chosen left out"
    note(f"{columns['user_id'].path}: {text}")
    return shown.reset_index(drop=True)


def _slates(
    choices: pd.DataFrame, shown: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The slate of each choice and of each row shown, as numbers, and which of the latter have a
    choice."""
    import pandas as pd

    both = pd.concat([choices[SLATE], shown[SLATE]], ignore_index=True)
    slate = both.groupby(SLATE, sort=False).ngroup().to_numpy()
    slate_E, slate_S = slate[: len(choices)], slate[len(choices) :]
    return slate_E, slate_S, np.isin(slate_S, slate_E)


def shown_columns(
    interactions: Interactions,
    frame: pd.DataFrame,
    order_E: np.ndarray,
    item_ids: Any,
    offsets: pa.Array,
) -> dict[str, pa.Array]:
    """Of each event of a user, in order_E, how many items were shown with it and not chosen, and
    these; nothing where the log has none. Items that are no part of the corpus are left out."""
    import pandas as pd
    import pyarrow as pa

    if interactions.shown is None:
        return {}
    slate_E, slate_S, _ = _slates(frame, interactions.shown)
    number_S = pd.Index(item_ids).get_indexer(interactions.shown["item_id"]) + 1
    slate_S, number_S = slate_S[number_S > 0], number_S[number_S > 0]
    by_slate_S = np.argsort(slate_S, kind="stable")
    slate_S, number_S = slate_S[by_slate_S], number_S[by_slate_S]
    slate_E = slate_E[order_E]
    first_E = np.searchsorted(slate_S, slate_E, side="left")
    count_E = np.searchsorted(slate_S, slate_E, side="right") - first_E
    end_E = count_E.cumsum()
    place = np.arange(count_E.sum()) + np.repeat(first_E - (end_E - count_E), count_E)
    ends = np.concatenate([[0], end_E])[offsets.to_numpy()]
    return {
        "shown_counts": pa.ListArray.from_arrays(offsets, pa.array(count_E, type=pa.int64())),
        "shown": pa.ListArray.from_arrays(
            pa.array(ends, type=pa.int32()), pa.array(number_S[place], type=pa.int64())
        ),
    }


def shown_of(count_E: np.ndarray, item_S: np.ndarray) -> Shown:
    """As `shown_columns` wrote them, flat."""
    import torch

    from recsys_posttrain.logged import Shown

    offsets_E1 = np.concatenate([[0], count_E.cumsum(dtype=np.int64)])
    return Shown(torch.from_numpy(item_S), torch.from_numpy(offsets_E1))
