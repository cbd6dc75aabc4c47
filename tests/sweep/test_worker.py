"""What is said of each outcome, and what of a job ends up in it."""

from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from recsys_posttrain.errors import TrainingFailed, UserError
from recsys_posttrain.sweep.queue import Outcome
from recsys_posttrain.sweep.worker import _line, outcome_of

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
