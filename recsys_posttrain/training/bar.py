"""How far a training is, with its loss: a bar on a terminal, and in a notebook without widgets."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import Any

from rich import progress as bars

from recsys_posttrain.progress import Left, drawn, plain_console, time_left

Show = Callable[[int, float], None]
SECONDS_BETWEEN_UPDATES = 0.25  # of a notebook
WIDTH = 30


def hidden(_step: int, _loss: float) -> None:
    """Where nothing is drawn."""


@contextmanager
def training_bar(title: str, start: int, total: int) -> Iterator[Show]:
    """Yields how to show a step and its loss; nothing is drawn in a pipe, or below a live table.

    The bar ends with the block: it goes from a terminal, and in a notebook says where it stopped.
    """
    console = plain_console(stderr=True)
    if (display := _notebook()) is not None:
        notebook = _InNotebook(title, start, total, display)
        try:
            yield notebook.show
        finally:
            notebook.end()
    elif drawn.is_set() or not console.is_terminal:
        yield hidden
    else:
        columns = (
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[loss]}", markup=False),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left", markup=False),
            Left(),
        )
        with bars.Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(title, total=total, completed=start, start_at=start, loss="")

            def show(step: int, loss: float) -> None:
                progress.update(task, completed=step, loss=f"loss {loss:.4g}")

            yield show


def _notebook() -> Callable[..., Any] | None:
    """IPython's display where a notebook runs this; widgets may be missing there."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    if type(shell).__name__ != "ZMQInteractiveShell":
        return None
    from IPython.display import display  # type: ignore[import-not-found]

    return display  # type: ignore[no-any-return]


class _InNotebook:
    """One line of text, replaced in place."""

    def __init__(self, title: str, start: int, total: int, display: Callable[..., Any]) -> None:
        self.title, self.start, self.total = title, start, total
        self.began = self.updated = monotonic()
        self.step, self.loss = start, float("nan")
        self.handle = display(self._shown(), raw=True, display_id=True)

    def show(self, step: int, loss: float) -> None:
        self.step, self.loss = step, loss
        if monotonic() - self.updated > SECONDS_BETWEEN_UPDATES:
            self._update()

    def end(self) -> None:
        self.total = self.step
        self._update()

    def _update(self) -> None:
        self.updated = monotonic()
        self.handle.update(self._shown(), raw=True)

    def _shown(self) -> dict[str, str]:
        seconds, done = monotonic() - self.began, self.step - self.start
        full = round(WIDTH * self.step / max(1, self.total))
        left = time_left(self.total - self.step, seconds / done) if done else "-:--:--"
        return {
            "text/plain": f"{self.title} {'━' * full}{'─' * (WIDTH - full)} {self.step}/"
            f"{self.total}, loss {self.loss:.4g}, {timedelta(seconds=round(seconds))}, left {left}"
        }
