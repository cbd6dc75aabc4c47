"""What is said of each outcome, and what of a job ends up in it."""

from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from recsys_posttrain.errors import TrainingFailed, UserError
from recsys_posttrain.sweep.queue import Outcome
from recsys_posttrain.sweep.worker import _line, _row, outcome_of

SETTING = {"algorithm.temperature": 0.25}
QUEUE = SimpleNamespace(numbers=(0, 1, 2), outcomes=lambda: {0: "done", 1: "done"})


FAILED, DONE = Outcome(6.0, None, "diverged"), Outcome(6.0, 0.5)


def job(seed=None, setting=SETTING):
    return SimpleNamespace(cell="ASFT, ItemBias 1", setting=setting, seed=seed)


@pytest.mark.parametrize(
    ("what", "outcome", "line"),
    [
        (job(), FAILED, "trial 2 of 3, failed: diverged, temperature=0.25"),
        (job(7), DONE, "final run 2 of 3, 0.5000, temperature=0.25"),
        (job(setting={}), DONE, "trial 2 of 3, 0.5000"),
    ],
)
def test_a_line_for_each_outcome(what, outcome, line):
    wanted = f"ASFT, ItemBias 1: {line} (0:00:08 left)"
    assert _line(what, QUEUE, outcome, "0:00:08") == wanted


def cell_state(trials, finals, setting=None, left=1, does_nothing=False):
    cell = SimpleNamespace(label="BC", trials=8)
    known = {"trials": range(trials), "finals": range(finals), "setting": setting, "left": left}
    return SimpleNamespace(cell=cell, does_nothing=does_nothing, **known)


@pytest.mark.parametrize(
    ("now", "busy", "cells"),
    [
        (cell_state(3, 0), ["BC", "x", "BC"], ("3 of 8, 2 reused, 2 running", "")),
        (cell_state(8, 1, SETTING), ["BC"], ("8 of 8, 2 reused", "1 done, 1 running")),
        (cell_state(8, 0, left=0), [], ("8 of 8, 2 reused", "no trial completed")),
        (cell_state(8, 0, None, 0, True), [], ("8 of 8, 2 reused", "does nothing")),
    ],
)
def test_a_row_of_the_live_table(now, busy, cells):
    row = _row(cell_state(2, 0), now, busy)
    assert row == ("BC", cells, "BC" in busy, not now.left)


def objective(end):
    """One whose trials end so; final runs are worth their seed."""

    def trial(cell, setting):
        if isinstance(end, Exception):
            raise end
        return end

    cells = (SimpleNamespace(label="BC"), SimpleNamespace(label="ASFT, ItemBias 1"))
    return SimpleNamespace(
        sweep=SimpleNamespace(cells=cells),
        trial=trial,
        final=lambda cell, setting, seed: float(seed),
    )


@pytest.mark.parametrize(
    ("end", "state", "value", "reason"),
    [
        (0.5, TrialState.COMPLETE, 0.5, ""),
        (TrainingFailed("diverged"), TrialState.FAIL, None, "diverged"),
    ],
)
def test_the_outcome_of_a_trial(end, state, value, reason):
    found = outcome_of(objective(end), job())
    assert (found.state, found.value, found.reason) == (state, value, reason)


def test_a_final_run_has_an_outcome_and_what_is_not_the_settings_fault_has_none():
    assert outcome_of(objective(0.5), job(seed=7)).value == 7.0
    with pytest.raises(UserError, match="the disk is full"):
        outcome_of(objective(UserError("the disk is full")), job())
