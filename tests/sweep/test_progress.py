"""What is shown while a sweep runs, on a terminal and elsewhere."""

import io
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState
from rich.console import Console

from recsys_posttrain.sweep.ledger import CellState
from recsys_posttrain.sweep.progress import CellProgress


def trial(number, seconds, value=None):
    state = TrialState.FAIL if value is None else TrialState.COMPLETE
    attributes = {"seconds": seconds, "reason": "diverged"}
    return SimpleNamespace(
        number=number, state=state, value=value, params={"a.x": 0.25}, user_attrs=attributes
    )


class Ledger:
    """One cell of three trials and two final runs."""

    cell = SimpleNamespace(label="A-SFT, ItemBias 1")
    sweep = SimpleNamespace(cells=(cell,), trials=3, seeds=(0, 1))

    def __init__(self):
        self.trials, self.finals = [trial(0, 4.0, 0.5)], []

    def state(self, cell):
        return CellState(cell, tuple(self.trials), tuple(self.finals), None, len(self.finals) == 2)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_is_new_is_shown(is_terminal):
    """After 10 s in two slots three are left: 15 s for one worker, 7.5 s for two."""
    out, ledger = io.StringIO(), Ledger()
    console = Console(file=out, force_terminal=is_terminal, width=100)
    progress = CellProgress(ledger, console, workers=2)
    with progress.shown():
        ledger.trials.append(trial(1, 6.0))
        progress.look()
        before = out.getvalue()
        progress.look()
    if is_terminal:
        assert "trials" in out.getvalue()
        table = out.getvalue().splitlines()
        assert any("2/3" in line and "0/2" in line and "0:00:08" in line for line in table)
        return
    line = "A-SFT, ItemBias 1: trial 2 of 3, failed: diverged, x=0.25 (0:00:08 left)\n"
    assert before == out.getvalue() == line
