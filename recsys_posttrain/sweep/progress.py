"""How far a sweep is: bars per cell on a terminal, otherwise a line when a cell moves."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.live import Live
from rich.table import Table

from recsys_posttrain.progress import time_left
from recsys_posttrain.sweep.ledger import CellState, Ledger
from recsys_posttrain.sweep.slots import REASON, STATES
from recsys_posttrain.sweep.space import described


class CellProgress:
    """look() reads the ledger and shows what is new. workers: of this command, for the time left,
    which is the mean of what a slot took so far, per worker."""

    def __init__(self, ledger: Ledger, console: Console, workers: int) -> None:
        self.ledger = ledger
        self.console = console
        self.workers = workers
        self._states: dict[str, CellState] = {}
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator["CellProgress"]:
        """Cells that are done already, by an earlier call, give no line."""
        self._states = {cell.label: self.ledger.state(cell) for cell in self.ledger.sweep.cells}
        if not self.console.is_terminal:
            yield self
            return
        with Live(self._table(), console=self.console, refresh_per_second=1) as self._live:
            yield self

    def look(self) -> None:
        for label, before in self._states.items():
            if before.is_done:
                continue
            now = self._states[label] = self.ledger.state(before.cell)
            if self._live is None:
                self._say(before, now)
        if self._live is not None:
            self._live.update(self._table())

    def _say(self, before: CellState, now: CellState) -> None:
        sweep = self.ledger.sweep
        for kind, old, new, budget in (
            ("trial", before.trials, now.trials, sweep.trials),
            ("final run", before.finals, now.finals, len(sweep.seeds)),
        ):
            known = {trial.number for trial in old}
            found = [trial for trial in new if trial.number not in known]
            for count, trial in enumerate(found, start=len(old) + 1):
                self.console.print(
                    f"{now.cell.label}: {kind} {count} of {budget}, {_outcome(trial)}, "
                    f"{described(trial.params)} ({self._left()} left)",
                    soft_wrap=True,
                )

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for title in ("cell", "trials", "final runs", "pruned", "failed", "left"):
            table.add_column(title, justify="left" if title == "cell" else "right")
        sweep = self.ledger.sweep
        for label, state in self._states.items():
            table.add_row(
                label,
                f"{len(state.trials)}/{sweep.trials}",
                f"{len(state.finals)}/{len(sweep.seeds)}",
                str(state.pruned or ""),
                str(state.failed or ""),
                "" if state.is_done else self._left(state),
            )
        table.add_row("all", "", "", "", "", self._left())
        return table

    def _left(self, *of: CellState) -> str:
        """Of the cells, all by default: h:mm:ss, or a question mark before the first is done."""
        sweep, states = self.ledger.sweep, tuple(self._states.values())
        seconds = [each for state in of for each in state.seconds]
        seconds = seconds or [each for state in states for each in state.seconds]
        if not seconds:
            return "?"
        budget = sweep.trials + len(sweep.seeds)
        slots = sum(budget - len(state.seconds) for state in (of or states) if not state.is_done)
        return time_left(slots, float(np.mean(seconds)) / self.workers)


def _outcome(trial: FrozenTrial) -> str:
    if trial.state == TrialState.COMPLETE:
        return f"{trial.value:.4f}"
    return f"{STATES[trial.state]}: {trial.user_attrs[REASON]}"
