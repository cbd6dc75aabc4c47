"""A table of what runs now, on a terminal, below the lines that are printed meanwhile."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from threading import Event
from time import monotonic
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from recsys_posttrain.progress import time_left

REFRESHES_PER_SECOND = 2
FRAME = 5  # lines around the rows: head, rule, and what is left
drawn = Event()  # set while a table is: two displays would write over each other


class Row(NamedTuple):
    """Of a method: what each of its columns says, and whether it is done."""

    name: str
    cells: tuple[str, ...]
    is_running: bool = False
    is_done: bool = False


class Look(NamedTuple):
    """What is known now. done, left: units of work since the table began, in parts too."""

    rows: Sequence[Row]
    done: float
    left: float


class _Board:
    def __init__(self, columns: Sequence[str], look: Callable[[], Look]) -> None:
        self.columns, self.look, self.began = columns, look, monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        look, seconds = self.look(), monotonic() - self.began
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        longest = max(cell_len(row.name) for row in look.rows)
        for place, column in enumerate(self.columns):
            table.add_column(column, no_wrap=True, min_width=0 if place else longest)
        for row in in_sight(look.rows, console.height - FRAME):
            style = "" if row.is_running else "dim"
            table.add_row(Text(row.name), *map(Text, row.cells), style=style)
        yield table
        done = sum(row.is_done for row in look.rows)
        left = time_left(look.left, seconds / look.done) if look.done else "-:--:--"
        took = timedelta(seconds=round(seconds))
        yield Text(f"{done} of {len(look.rows)} done, {took} so far, {left} left", no_wrap=True)


def in_sight(rows: Sequence[Row], room: int) -> list[Row]:
    """Where not all rows have room those that run, then those that wait, then the latest others;
    in their order."""

    def last(place: int) -> tuple[bool, bool, int]:
        row = rows[place]
        return not row.is_running, row.is_done, -place if row.is_done else place

    kept = sorted(range(len(rows)), key=last)[: max(1, room)]
    return [rows[place] for place in sorted(kept)]


@contextmanager
def live_table(
    columns: Sequence[str], look: Callable[[], Look], console: Console
) -> Iterator[None]:
    """Shows what `look` says, asked twice a second from another thread, until the block ends; on a
    terminal alone. The first column names the rows. The time left is at the mean pace so far."""
    if not console.is_terminal or console.is_dumb_terminal or not look().rows:
        yield
        return
    board = _Board(columns, look)
    live = Live(board, console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True)
    drawn.set()
    try:
        with live:
            yield
    finally:
        drawn.clear()
