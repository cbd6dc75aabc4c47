"""How far work is: a bar on a terminal, the time left, and a line per stage of a study."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from rich import progress as bars
from rich.console import Console
from rich.text import Text


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
