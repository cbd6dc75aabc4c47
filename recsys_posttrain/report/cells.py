"""Tables as cells. render.py turns them into Markdown, LaTeX, HTML and text for a terminal.

A sheet is kept as `<name>.json` beside its Markdown, so that a page shows the same cells without
reading a text.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd

from recsys_posttrain.data.notes import counted as counted
from recsys_posttrain.files import read_record, write_text
from recsys_posttrain.report.record import FIX, Kind, check_kinds
from recsys_posttrain.stats.comparison import DECIMALS

NOTHING = "–"  # noqa: RUF001 (an en dash for an empty cell)
DAGGER = "†"


@dataclass(frozen=True)
class Heading:
    """The title of a column.

    name: on one line.
    first, second: the same on two lines, for LaTeX and the terminal.
    arrow: ↑ or ↓, the better direction.
    is_text: whether its cells are aligned to the left.
    """

    name: str
    first: str = ""
    second: str = ""
    arrow: str = ""
    is_text: bool = False


@dataclass(frozen=True)
class Cell:
    """A value and its marks.

    text: a number, or a name that a user may have chosen.
    interval: `±.0072` or `[.1, .3]`, of digits and signs alone.
    note: what else belongs to the value, such as the strength that was chosen.
    bold: whether it is the best of its column.
    dagger: whether it differs from the control.
    """

    text: str
    interval: str = ""
    note: str = ""
    bold: bool = False
    dagger: bool = False


Row = Sequence[Cell]


@dataclass(frozen=True)
class Block:
    """Rows under headings; the title says what separates them from the block before.

    groups: of each row the name of those that it stands with, the rows of one group together;
        empty: it has none.
    """

    title: str
    columns: Sequence[Heading]
    rows: Sequence[Row]
    groups: Sequence[str] = ()

    @property
    def num_names(self) -> int:
        """How many columns, the first, say what a row is of."""
        texts = [column.is_text for column in self.columns]
        return texts.index(False) if False in texts else 1

    def part(self, places: Sequence[int]) -> "Block":
        """The same rows with these columns."""
        columns = [self.columns[place] for place in places]
        rows = [[row[place] for place in places] for row in self.rows]
        return replace(self, columns=columns, rows=rows)

    def by_group(self) -> Iterator[tuple[str, list[Row]]]:
        """The rows of each group after its name, which is empty where there is only one."""
        names = self.groups if len(set(self.groups)) > 1 else [""] * len(self.rows)
        pairs = zip(names, self.rows, strict=True)
        for name, together in groupby(pairs, key=itemgetter(0)):
            yield name, [row for _, row in together]


@dataclass(frozen=True)
class Sheet:
    """The blocks that belong together, and the caption that explains them."""

    caption: str
    blocks: Sequence[Block]


def headings(*names: str, text: int = 1) -> list[Heading]:
    """Headings of which the first `text` are of text and the others of numbers."""
    return [Heading(name, is_text=place < text) for place, name in enumerate(names)]


def cells(texts: Iterable[str]) -> list[Cell]:
    return [Cell(text) for text in texts]


def frame_block(frame: pd.DataFrame) -> Block:
    """The rows of a frame; numbers stand to the right."""
    kinds = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    columns = [
        Heading(str(name), is_text=not is_number)
        for name, is_number in zip(frame.columns, kinds, strict=True)
    ]
    rows = [cells(map(_plain, row)) for row in frame.itertuples(index=False, name=None)]
    return Block("", columns, rows)


def _plain(value: object) -> str:
    if isinstance(value, float):
        return decimal(value)
    return NOTHING if value is None else str(value)


def decimal(value: float, sign: bool = False) -> str:
    """.1822 or 3.9120; with a sign +.0021, but never a signed zero."""
    return re.sub(r"^([+-]?)0\.", r"\1.", _signed(value, DECIMALS, sign))


def p_text(p: float) -> str:
    """A p-value: ≤ .001 where it is smaller."""
    if not p > 0.001:
        return NOTHING if p != p else "≤ .001"
    return f"{p:.3f}".removeprefix("0")


def percent(value: float, sign: bool = False) -> str:
    return _signed(value, 1, sign)


def _signed(value: float, decimals: int, sign: bool) -> str:
    if value != value:
        return NOTHING
    value = round(value, decimals) + 0.0  # no negative zero
    return f"{value:{'+' if sign and value else ''}.{decimals}f}"


def plus_minus(half: str) -> str:
    """Half of an interval; empty where there is none."""
    return "" if half == NOTHING else f"±{half}"


def between(low: float, high: float) -> str:
    return f"[{decimal(low)}, {decimal(high)}]"


# Of the JSON file.
_CELL: Kind = {"text": str, "?interval": str, "?note": str, "?bold": bool, "?dagger": bool}
_HEADING: Kind = {"name": str, "?first": str, "?second": str, "?arrow": str, "?is_text": bool}
_BLOCK: Kind = {"title": str, "columns": [_HEADING], "rows": [[_CELL]], "?groups": [str]}
_SHEET: Kind = {"caption": str, "blocks": [_BLOCK]}


def write_sheet(path: Path, sheet: Sheet) -> None:
    write_text(path, json.dumps(_described(sheet), ensure_ascii=False) + "\n")


def read_sheet(path: Path) -> Sheet:
    """Raises: UserError where the file is missing or damaged."""
    record = read_record(path, (), FIX)
    check_kinds(path, record, _SHEET)
    blocks = [
        Block(
            block["title"],
            [_of(Heading, column) for column in block["columns"]],
            [[_of(Cell, cell) for cell in row] for row in block["rows"]],
            tuple(block.get("groups", ())),
        )
        for block in record["blocks"]
    ]
    return Sheet(record["caption"], blocks)


def _described(value: Any) -> Any:
    """Fields that have their default are left out."""
    if isinstance(value, str | bool):
        return value
    if isinstance(value, Sequence):
        return [_described(each) for each in value]
    named = ((field, getattr(value, field.name)) for field in fields(value))
    return {
        field.name: _described(found)
        for field, found in named
        if field.default is MISSING or found != field.default
    }


def _of(kind: type, described: dict[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in described.items() if name in known})
