"""What a study prints while it runs: one line per stage, and the counts at the end."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console


def plain_console(**options: Any) -> Console:
    """A console that prints what it is given: an id such as [deleted] or urn:book:12 is neither
    markup nor a picture. Every console of this package comes from here."""
    return Console(markup=False, emoji=False, highlight=False, **options)


# Piped output is as wide as the table needs; a terminal keeps its own width.
console = plain_console(width=None if sys.stdout.isatty() else 110)


def say(text: str) -> None:
    """One line, however long: a path or an id is never broken where a pipe would copy it."""
    console.print(text, soft_wrap=True)


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

    say: told of each stage once, however often it is needed.
    """

    def __init__(self, say: Callable[[Done], None] = _say) -> None:
        self._started = time.monotonic()
        self._say = say
        self._told: dict[Path, Done] = {}

    def add(self, done: Done) -> None:
        if done.folder not in self._told:
            self._told[done.folder] = done
            self._say(done)

    def finish(self) -> None:
        seconds = time.monotonic() - self._started
        reused = sum(done.seconds is None for done in self._told.values())
        built = len(self._told) - reused
        say(f"{reused} stages reused, {built} built, {seconds:.0f} s")
