"""A business mask with dates: from when on, until when and where an item may be shown (windows.py).

A table has a row for each window: item_id, from, until, and, where it has such a column, the region
in which it holds; without one it holds in all. An item may have several; one without a row may
always be shown, one with rows for some regions alone is closed in the others. From counts, until
does not; where nothing is written there is no such end. In training an item stays eligible where
the log chose it, as with data/never_shown.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_posttrain.config import require
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.data.regions import NAMELESS, REGION, read_names, windows_for
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
    REGION: ("region",),
}
WHEN = ("from", "until", REGION)
EVER = 2**62  # seconds


def with_windows(corpus: Corpus, path: str) -> Corpus:
    """The corpus whose items may be shown as a table says; as it is, without one.

    Windows of items that the catalogue does not have are counted in a line on stderr, and so is
    what `windows_for` counts.
    Raises: UserError where the table cannot be read, or has none of the items, or regions and the
    log has none.
    """
    if not path:
        return corpus
    import torch

    from recsys_posttrain.data.encode import as_text, numbers, some
    from recsys_posttrain.windows import windows_of

    item_W, from_W, until_W, name_W = _read(path)
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
    number, start, end = (torch.from_numpy(each[known_W]) for each in (number_W, from_W, until_W))
    windows = windows_of(number, start, end, None if name_W is None else name_W[known_W])
    return replace(corpus, windows=windows_for(corpus, windows, path))


def _read(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Of each row the id of the item, its window in seconds, and the name of its region, empty for
    all; None: there is no such column."""
    from recsys_posttrain.data.columns import read_ids
    from recsys_posttrain.data.read_table import read_tables
    from recsys_posttrain.data.table_columns import plain
    from recsys_posttrain.data.table_paths import table_paths

    def choose(names: list[str]) -> dict[str, int]:
        found = {
            ours: [place for place, name in enumerate(names) if plain(name) in aliases]
            for ours, aliases in NAMES.items()
        }
        is_table = len(found["item_id"]) == 1 and any(found[name] for name in WHEN)
        require(
            is_table and all(len(places) < 2 for places in found.values()),
            f"{path} must have one column item_id and from, until or both, or region "
            f"(the columns are {', '.join(names)}).",
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
    if REGION not in columns:
        return item_W, from_W, until_W, None
    names = read_names(columns[REGION]).to_pandas().fillna("").to_numpy(dtype=object)
    columns[REGION].plain().check(
        np.char.lower(names.astype(str)) != NAMELESS,
        "a region must have a name, or be left empty where a window holds in all regions",
    )
    return item_W, from_W, until_W, names


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
    """As a saved policy and a stage's key have them: id, from, until, and where windows are by
    region, its name; None: no such end, and all regions."""
    windows = corpus.windows
    if windows is None:
        return []
    if not windows.regions:
        return _rows(corpus, windows)
    parts = [(windows, None), *((each.windows, each.name) for each in windows.regions)]
    return [[*row, name] for part, name in parts for row in _rows(corpus, part)]


def _rows(corpus: Corpus, windows: Windows) -> list[list[Any]]:
    """Of what holds in all regions, or in one."""
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
    found, names = [], []
    for item, start, end, *name in rows:
        ends = -EVER if start is None else start, EVER if end is None else end
        found.append((number_of(item), *ends))
        names += [each or "" for each in name] or [""]
    if len(names) != len(rows) or not all(isinstance(name, str) for name in names):
        raise ValueError("a window has one region, by its name")
    items_W, from_W, until_W = torch.tensor(found, dtype=torch.int64).T
    return windows_of(items_W, from_W, until_W, np.array(names, dtype=object))


def open_events(corpus: Corpus, event_N: Tensor) -> Tensor:
    """Those of the events, flat indices, whose item may be shown at their time, in their region.

    Raises: UserError: none is."""
    if corpus.windows is None or not len(event_N):
        return event_N
    from recsys_posttrain.logged import rows_of

    log = corpus.sequences
    times_N = log.timestamps_E[event_N]
    when_N = times_N, rows_of(log.regions_E, event_N)
    kept_N = event_N[~corpus.windows.closed_items(log.items_E[event_N], *when_N)]
    there, fix = "", "from and until"
    if corpus.windows.regions:
        there, fix = " in its region", "from, until and region"
    first, last = (str(np.datetime64(int(each), "s"))[:10] for each in times_N.aminmax())
    require(
        len(kept_N),
        f"{corpus.name}: none of {counted(len(event_N), 'target')} ({first} to {last}) is of an "
        f"item that may be shown at that time{there}; correct {fix}.",
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


def where(windows: Windows) -> str:
    """In words, where items with windows may be shown."""
    return "in some regions or at some times" if windows.regions else "at some times"


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
        f"{len(windows.items_U):,} of {data.corpus.num_items:,} items may be shown "
        f"{where(windows)} only; {left_out} are left out: their item may not be shown then, or no "
        "other may"
    )
