"""Rows of a log that were shown and not chosen: never history, never targets, but negatives.

A column `chosen` says so, 1 or 0; with a column `shown` rows that were neither are left out. What
was shown together is what one user has in one slate, by a column `slate`, or at one time. A column
`position` says where in it. S items that were shown.
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

SHOWN_COLUMNS = ("shown_counts", "shown", "positions", "shown_positions")  # of prepared data


def _slate_of(frame: pd.DataFrame) -> list[str]:
    """The columns that say what was shown together."""
    return ["user_id", "slate" if "slate" in frame else "timestamp"]


def slate_columns(columns: Mapping[str, Column]) -> dict[str, Any]:
    """Of each row its slate and its position there, where columns say so.

    Raises: UserError: a row has none, or a position is no number.
    """
    from recsys_posttrain.data.columns import read_ids, read_numbers

    found: dict[str, Any] = {}
    if "slate" in columns:
        found["slate"] = read_ids(columns["slate"])
    if "position" in columns:
        found["position"] = read_numbers(columns["position"])
        rule = f"{columns['position'].name} must be a number in every row: its place in the slate"
        columns["position"].plain().check(np.isfinite(found["position"]), rule)
    return found


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
    kept = [*dict.fromkeys([*_slate_of(frame), "timestamp", "item_id"])]
    kept += ["position"] * ("position" in frame)
    shown, choices = frame.loc[is_shown_E, kept], frame[is_chosen_E]
    alone = len(shown) - int(_slates(choices, shown)[2].sum())
    text = f"{counted(len(shown), 'row')} shown and not chosen: negatives, never history or targets"
    if alone:
        where = "in that slate" if "slate" in frame else "at that time"
        text += f"; {alone:,} of them are left out, beside no choice of that user {where}"
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

    by = _slate_of(choices)
    both = pd.concat([choices[by], shown[by]], ignore_index=True)
    slate = both.groupby(by, sort=False).ngroup().to_numpy()
    slate_E, slate_S = slate[: len(choices)], slate[len(choices) :]
    return slate_E, slate_S, np.isin(slate_S, slate_E)


def shown_columns(
    interactions: Interactions,
    frame: pd.DataFrame,
    order_E: np.ndarray,
    item_ids: Any,
    offsets: pa.Array,
) -> dict[str, pa.Array]:
    """Of each event of a user, in order_E, how many items were shown with it and not chosen, these,
    and the positions of all; nothing where the log has none. Items that are no part of the corpus
    are left out."""
    import pandas as pd
    import pyarrow as pa

    has_positions, shown = "position" in frame, interactions.shown
    if shown is None:
        if not has_positions:
            return {}
        shown = frame.iloc[:0]
    slate_E, slate_S, _ = _slates(frame, shown)
    number_S = pd.Index(item_ids).get_indexer(shown["item_id"]) + 1
    by_slate_S = np.argsort(slate_S, kind="stable")
    by_slate_S = by_slate_S[number_S[by_slate_S] > 0]
    slate_S, number_S = slate_S[by_slate_S], number_S[by_slate_S]
    slate_E = slate_E[order_E]
    first_E = np.searchsorted(slate_S, slate_E, side="left")
    count_E = np.searchsorted(slate_S, slate_E, side="right") - first_E
    end_E = count_E.cumsum()
    place = np.arange(count_E.sum()) + np.repeat(first_E - (end_E - count_E), count_E)
    ends = pa.array(np.concatenate([[0], end_E])[offsets.to_numpy()], type=pa.int32())

    def lists(offsets: pa.Array, values: np.ndarray, dtype: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, pa.array(values, type=dtype))

    found = {
        "shown_counts": lists(offsets, count_E, pa.int64()),
        "shown": lists(ends, number_S[place], pa.int64()),
    }
    if has_positions:
        position_E = frame["position"].to_numpy(np.float32)[order_E]
        position_S = shown["position"].to_numpy(np.float32)[by_slate_S][place]
        found["positions"] = lists(offsets, position_E, pa.float32())
        found["shown_positions"] = lists(ends, position_S, pa.float32())
    return found


def shown_of(columns: Mapping[str, np.ndarray]) -> Shown | None:
    """As `shown_columns` wrote them, flat; None where the log has none."""
    import torch

    from recsys_posttrain.logged import Shown

    if not columns:
        return None
    ends_E = columns["shown_counts"].cumsum(dtype=np.int64)
    offsets_E1 = torch.from_numpy(np.concatenate([[0], ends_E]))
    positions = (columns.get(name) for name in SHOWN_COLUMNS[2:])
    return Shown(
        torch.from_numpy(columns["shown"]),
        offsets_E1,
        *(None if each is None else torch.from_numpy(each) for each in positions),
    )
