"""How far work is: a bar or a live table on a terminal, the time left, and a line per stage."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from rich import box
from rich import progress as bars
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

REFRESHES_PER_SECOND = 2
FRAME = 5  # lines around the rows of a live table: head, rule, and what is left


def plain_console(**options: Any) -> Console:
    """A console that prints what it is given: an id such as [deleted] or urn:book:12 is neither
    markup nor a picture. Every console of this package comes from here."""
    return Console(markup=False, emoji=False, highlight=False, **options)


# Piped output is as wide as the table needs; a terminal keeps its own width.
console = plain_console(width=None if sys.stdout.isatty() else 110)


def say(text: str) -> None:
    """One line, however long: a path or an id is never broken where a pipe would copy it."""
    console.print(text, soft_wrap=True)


def time_left(units: float, seconds_each: float) -> str:
    """h:mm:ss for what is still to do."""
    return str(timedelta(seconds=round(units * seconds_each)))


class Left(bars.ProgressColumn):
    """At the mean pace so far: rich's own goes by the last tasks, which processes end together."""

    def render(self, task: bars.Task) -> Text:
        if not task.completed or task.remaining is None:
            return Text("-:--:--")
        here = task.completed - task.fields.get("start_at", 0)  # not by an earlier attempt
        return Text(time_left(task.remaining, (task.elapsed or 0.0) / here) if here else "-:--:--")


@contextmanager
def progress_bar(
    title: str,
    total: int | None,
    console: Console,
    count: type[bars.ProgressColumn] = bars.MofNCompleteColumn,
) -> Iterator[Callable[[int], None]]:
    """A bar with the time left, on a terminal only; yields how to move it on by so many units.

    total: None where nobody knows. count: how the units are written.
    """
    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        count(),
        bars.TimeElapsedColumn(),
        bars.TextColumn("left", markup=False),
        Left(),
    )
    with bars.Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total)
        yield lambda units: progress.advance(task, units)


class Done(NamedTuple):
    """A stage that is there. seconds: what it took; None: it was there already."""

    title: str
    folder: Path
    seconds: float | None


def _say(done: Done) -> None:
    took = "reused" if done.seconds is None else f"{done.seconds:.1f} s"
    say(f"  {done.title:<44}{took:>10}")


class Progress:
    """One line per stage: what, and whether it was reused or how long it took.

    say: called with a line for each stage, once however often it is needed.
    """

    def __init__(self, say: Callable[[Done], None] = _say) -> None:
        self._started = time.monotonic()
        self._say = say
        self._seen: dict[Path, Done] = {}

    def add(self, done: Done) -> None:
        if done.folder not in self._seen:
            self._seen[done.folder] = done
            self._say(done)

    def finish(self) -> None:
        seconds = time.monotonic() - self._started
        reused = sum(done.seconds is None for done in self._seen.values())
        built = len(self._seen) - reused
        say(f"{reused} stages reused, {built} built, {seconds:.0f} s")


drawn = Event()  # set while a live table is: two displays would write over each other


class Row(NamedTuple):
    """Of a live table: what each column says of a method, and whether that is done."""

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
        self.columns, self.look, self.began = columns, look, time.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        look, seconds = self.look(), time.monotonic() - self.began
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
