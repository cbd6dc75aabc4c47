"""The trials of a sweep as a table, also while it runs: what the mirror reads (tracking/)."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from recsys_posttrain.config import describe
from recsys_posttrain.files import write_text
from recsys_posttrain.report.study_folder import SO_FAR
from recsys_posttrain.sweep.definition import Cell, noise_name
from recsys_posttrain.sweep.ledger import CellState, Job, Ledger
from recsys_posttrain.sweep.objective import Objective
from recsys_posttrain.sweep.queue import SECONDS, SLOT, STATES, reason_of
from recsys_posttrain.sweep.space import Setting
from recsys_posttrain.tracking.curves import write_plan

RUNNING = "running"


def trials_frame(
    states: Sequence[CellState], objective: Objective, running: Collection[Job] = ()
) -> pd.DataFrame:
    """One row per trial: algorithm, noise (empty without), trial, state, reason, value, seconds,
    stage (the names of those in which it was trained, one per tuning seed) and a column
    param.<field> for each field that some method searches."""
    rows: list[dict[str, Any]] = []
    for state in states:
        cell = state.cell
        rows += [
            _row(objective, cell, trial.user_attrs[SLOT], trial.params)
            | {
                "state": STATES[trial.state],
                "reason": reason_of(trial),
                "value": trial.value,
                "seconds": trial.user_attrs[SECONDS],
            }
            for trial in state.trials
        ]
        rows += [
            _row(objective, cell, job.trial.user_attrs[SLOT], job.setting)
            for job in running
            if job.cell == cell.label and job.seed is None
        ]
    return pd.DataFrame(rows)


def _row(objective: Objective, cell: Cell, slot: int, setting: Setting) -> dict[str, Any]:
    """Of one that is not done."""
    return {
        "algorithm": cell.method.label,
        "noise": noise_name(cell.noise),
        "trial": slot,
        "state": RUNNING,
        "reason": "",
        "value": None,
        "seconds": None,
        "stage": " ".join(objective.stages(cell, setting)),
        **{f"param.{path}": value for path, value in setting.items()},
    }


class SoFar:
    """Written into the sweep's folder whenever a trial begins, so that a sweep that is killed
    leaves it too; a finished sweep has trials.csv in its place."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        self.folder = folder
        self._planned = 0

    def write(self, states: Sequence[CellState], running: Collection[Job]) -> None:
        """running: what this command works on. Raises nothing for the disk's sake: what is done is
        in the storage."""
        with suppress(OSError):
            trials = trials_frame(states, self.ledger.objective, running)
            if len(trials):
                write_text(self.folder / SO_FAR, trials.to_csv(index=False, lineterminator="\n"))
            chosen = [state for state in states if state.setting is not None]
            if len(chosen) > self._planned:
                write_plan(self.folder, [run for state in chosen for run in self._finals(state)])
                self._planned = len(chosen)

    def _finals(self, state: CellState) -> list[dict[str, Any]]:
        """The runs of the chosen setting, whose rows the table will have."""
        keys, found = self.ledger.objective.pipeline.keys, []
        for seed in self.ledger.sweep.seeds:
            run = state.cell.run(state.setting or {}, seed)
            stage = keys.posttrain(run).folder.name
            plan = {"name": run.label, "seed": seed, "stage": stage, "config": describe(run)}
            found.append(plan)
        return found
