"""A business mask with dates: from when on and until when an item may be shown (windows.py).

A table has a row for each window: item_id, from, until. An item may have several; one without a row
may always be shown. From counts, until does not; where nothing is written there is no such end. In
training an item stays eligible where the log chose it, as with data/never_shown.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_posttrain.config import require
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.errors import did_you_mean, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from recsys_posttrain.data.columns import Column
    from recsys_posttrain.types import Corpus, Split, Targets
    from recsys_posttrain.windows import Windows

NAMES = {
    "item_id": ("itemid", "item", "iid", "movieid", "movie", "productid", "asin"),
    "from": ("from", "since", "start", "availablefrom", "validfrom"),
    "until": ("until", "to", "end", "availableuntil", "validuntil"),
}
EVER = 2**62  # seconds


def with_windows(corpus: Corpus, path: str) -> Corpus:
    """The corpus whose items may be shown as a table says; as it is, without one.

    Windows of items that the catalogue does not have are counted in a line on stderr.
    Raises: UserError where the table cannot be read, or has none of the items.
    """
    if not path:
        return corpus
    import torch

    from recsys_posttrain.data.encode import as_text, numbers, some
    from recsys_posttrain.windows import windows_of

    item_W, from_W, until_W = _read(path)
    code_W, written = np.unique(np.asarray(as_text(item_W)), return_inverse=True)[::-1]
    number_W = numbers(corpus.item_ids, written)[1:].numpy()[code_W]
    unknown = written[np.unique(code_W[number_W == 0])].tolist()
    known_W, items = number_W > 0, len(np.unique(number_W[number_W > 0]))
    text = f"{path}: {counted(int(known_W.sum()), 'window')} of {counted(items, 'item')}"
    if unknown:
        missing = f"{counted(len(unknown), 'item')} that {corpus.name} does not have"
        missing += f" ({some(unknown)})"
        hint = did_you_mean(nearest(unknown[0], as_text(corpus.item_ids)))
        require(known_W.any(), f"{path} has only windows of {missing}{hint or '.'}")
        text += f"; left out: {missing}{hint}"
    note(f"{text}; {corpus.num_items - items:,} items without one may always be shown")
    parts = (torch.from_numpy(each[known_W]) for each in (number_W, from_W, until_W))
    return replace(corpus, windows=windows_of(*parts))


def _read(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row the id of the item, and its window in seconds."""
    from recsys_posttrain.data.columns import read_ids
    from recsys_posttrain.data.read_table import read_tables
    from recsys_posttrain.data.table_columns import plain
    from recsys_posttrain.data.table_paths import table_paths

    def choose(names: list[str]) -> dict[str, int]:
        found = {
            ours: [place for place, name in enumerate(names) if plain(name) in aliases]
            for ours, aliases in NAMES.items()
        }
        is_table = len(found["item_id"]) == 1 and (found["from"] or found["until"])
        require(
            is_table and all(len(places) < 2 for places in found.values()),
            f"{path} must have one column item_id and from, until or both (the columns are "
            f"{', '.join(names)}).",
        )
        return {ours: places[0] for ours, places in found.items() if places}

    paths = table_paths(path)
    require(len(paths) == 1, f"{path}: give the windows of all items as one file.")
    columns = read_tables(path, paths, choose)
    item_W = np.asarray(read_ids(columns["item_id"]))
    from_W = _seconds(columns, "from", -EVER, len(item_W))
    until_W = _seconds(columns, "until", EVER, len(item_W))
    last = columns.get("until", columns["item_id"])
    last.plain().check(from_W < until_W, "a window must end after it begins")
    return item_W, from_W, until_W


def _seconds(columns: dict[str, Column], name: str, end: int, rows: int) -> np.ndarray:
    """int64; `end` where nothing is written."""
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    from recsys_posttrain.data.columns import numpy_of
    from recsys_posttrain.data.times import read_times

    if name not in columns:
        return np.full(rows, end)
    column = columns[name].plain()
    there_W = numpy_of(column.values.is_valid(), "bool")
    if not there_W.any():
        return np.full(rows, end)
    filled = pc.fill_null(column.values, column.values.drop_null()[0])
    times = read_times(replace(column, values=filled))
    return np.where(there_W, times.ticks_E // times.ticks_per_second, end)


def windows_rows(corpus: Corpus) -> list[list[Any]]:
    """As a saved policy and a stage's key have them: id, from, until; None: no such end."""
    windows = corpus.windows
    if windows is None:
        return []
    from recsys_posttrain.data.encode import as_text

    ids = as_text(corpus.item_ids[windows.items_U.numpy() - 1])
    rows: list[list[Any]] = []
    for from_U, until_U in zip(windows.from_LU.tolist(), windows.until_LU.tolist(), strict=True):
        rows += [
            [item, *(None if abs(end) == EVER else end for end in ends)]
            for item, *ends in zip(ids, from_U, until_U, strict=True)
            if ends[0] < ends[1]
        ]
    return rows


def windows_in(rows: Any, number_of: Callable[[Any], int]) -> Windows | None:
    """Of what `windows_rows` wrote. Raises: ValueError, TypeError or KeyError for anything else."""
    import torch

    from recsys_posttrain.windows import windows_of

    if not rows:
        return None
    found = [
        (number_of(item), -EVER if start is None else start, EVER if end is None else end)
        for item, start, end in rows
    ]
    return windows_of(*torch.tensor(found, dtype=torch.int64).T)


def open_events(corpus: Corpus, event_N: Tensor) -> Tensor:
    """Those of the events, flat indices, whose item may be shown at their time.

    Raises: UserError: none is."""
    if corpus.windows is None or not len(event_N):
        return event_N
    log = corpus.sequences
    times_N = log.timestamps_E[event_N]
    kept_N = event_N[~corpus.windows.closed_items(log.items_E[event_N], times_N)]
    first, last = (str(np.datetime64(int(each), "s"))[:10] for each in times_N.aminmax())
    require(
        len(kept_N),
        f"{corpus.name}: none of {counted(len(event_N), 'target')} ({first} to {last}) is of an "
        "item that may be shown at that time; correct from and until.",
    )
    return kept_N


def with_a_choice(targets: Targets, num_items: int) -> Targets:
    """Without those at which only the item itself may be shown, which would be a free hit."""
    if targets.windows is None:
        return targets
    import torch

    from recsys_posttrain.data.hold_out import targets_where
    from recsys_posttrain.data.repeats import removed_for
    from recsys_posttrain.eligibility import leave_out
    from recsys_posttrain.ops.logsumexp import positions_per_chunk

    removed, step = removed_for(targets), positions_per_chunk(num_items)
    kept = []
    for start in range(0, len(targets.items_N), step):
        rows = slice(start, min(start + step, len(targets.items_N)))
        own_N = targets.items_N[rows]
        left_CV = torch.ones(len(own_N), num_items, dtype=torch.bool)
        leave_out(left_CV, removed.rows(rows), False)
        left_CV[torch.arange(len(own_N)), own_N - 1] = False
        kept.append(left_CV.any(dim=1))
    kept_N = torch.cat(kept) if kept else torch.ones(0, dtype=torch.bool)
    require(
        not kept or kept_N.any(),
        f"at none of {counted(len(kept_N), 'target')} is more than one item available; correct "
        "from and until.",
    )
    found = targets_where(targets, kept_N)
    return replace(found, masked=targets.masked + int((~kept_N).sum()))


def windows_sentence(data: Split) -> str:
    """What the windows leave out; empty without."""
    windows = data.corpus.windows
    if windows is None:
        return ""
    left_out = " and ".join(
        f"{part.masked:,} of {part.masked + part.unshowable + len(part.items_N):,} {name} targets"
        for name, part in (("validation", data.validation), ("test", data.test))
    )
    return (
        f"{len(windows.items_U):,} of {data.corpus.num_items:,} items may be shown at some times "
        f"only; {left_out} are left out: their item may not be shown then, or no other may"
    )
