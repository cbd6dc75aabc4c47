"""Cells on a terminal or in a pipe: as many columns side by side as its measured width holds.

The names of the rows are never cut; columns that do not fit follow in a table of their own. Where
not even one fits beside the names, each row is a list of its values.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from recsys_posttrain.report.cells import DAGGER, Block, Cell, Heading, Sheet

BEST = "*"  # where text cannot be bold
GAP = 2  # between two columns


@dataclass(frozen=True)
class OnTerminal:
    """A sheet for rich's print."""

    sheet: Sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_bold = console.color_system is not None
        for block in self.sheet.blocks:
            pieces = _pieces(block, options.max_width, is_bold)
            if not pieces:
                yield from _lists(block, is_bold)
            for piece in pieces:
                yield Text()
                yield _table(piece, is_bold)
        cells = (cell for block in self.sheet.blocks for row in block.rows for cell in row)
        if not is_bold and any(cell.bold for cell in cells):
            yield Text(f"{BEST} stands for bold.")
        yield Text(self.sheet.caption, style="dim")


def _pieces(block: Block, width: int, is_bold: bool) -> list[Block]:
    """The block in parts that fit, each with the names of the rows; none where no column fits."""
    names = block.num_names
    room = width - sum(_width(block, place, is_bold) + GAP for place in range(names))
    parts: list[list[int]] = []
    used = 0
    for place in range(names, len(block.columns)):
        needed = _width(block, place, is_bold)
        if needed > room:
            return []
        if not parts or used + GAP + needed > room:
            parts.append([])
            used = -GAP
        parts[-1].append(place)
        used += GAP + needed
    return [block.part([*range(names), *places]) for places in parts]


def _width(block: Block, place: int, is_bold: bool) -> int:
    """Of the names all; of a column of values what must stay together: a note may wrap."""
    lines = _title(block.columns[place]).split("\n")
    lines += list(block.groups) if place == 0 else []
    for row in block.rows:
        lines += [_value(row[place], is_bold), row[place].interval, *row[place].note.split()]
    return max(map(cell_len, lines))


def _title(column: Heading) -> str:
    return f"{column.first}{column.arrow}\n{column.second}" if column.first else column.name


def _value(cell: Cell, is_bold: bool) -> str:
    return cell.text + BEST * (cell.bold and not is_bold) + DAGGER * cell.dagger


def _table(block: Block, is_bold: bool) -> Table:
    """The interval below its value."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.title = Text(block.title) if block.title else None
    table.title_justify = "left"
    for place, column in enumerate(block.columns):
        is_name = place < block.num_names
        table.add_column(
            Text(_title(column)),
            justify="left" if is_name else "right",
            no_wrap=is_name,
            min_width=_width(block, place, is_bold),
        )
    for group, rows in block.by_group():
        if group:
            table.add_section()
            table.add_row(Text(group, style="italic"))
        for row in rows:
            table.add_row(*(_cell(cell, is_bold) for cell in row))
    return table


def _cell(cell: Cell, is_bold: bool) -> Text:
    text = Text(_value(cell, is_bold), style="bold" if cell.bold else "")
    small = "".join(f"\n{part}" for part in (cell.interval, cell.note) if part)
    return text.append(small, style="dim not bold")


def _lists(block: Block, is_bold: bool) -> Iterator[Text]:
    """Every row as its name and a line for each value."""
    if block.title:
        yield Text(f"\n{block.title}")
    names = block.num_names
    for row in block.rows:
        yield Text(", ".join(cell.text for cell in row[:names]))
        for column, cell in zip(block.columns[names:], row[names:], strict=True):
            said = (f"{column.name}{column.arrow}", _value(cell, is_bold), cell.interval, cell.note)
            yield Text(f"  {' '.join(filter(None, said))}")
