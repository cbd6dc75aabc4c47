"""What a finished sweep leaves: trials.csv, and the tables of a study of the chosen settings."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from recsys_posttrain.config import describe, require
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import write_text
from recsys_posttrain.studies.execute import build_runs
from recsys_posttrain.studies.folder import result_set
from recsys_posttrain.studies.load import Study
from recsys_posttrain.studies.study import measure_rewards, write_study
from recsys_posttrain.sweep.definition import Sweep, noise_name
from recsys_posttrain.sweep.ledger import CellState, Ledger
from recsys_posttrain.sweep.slots import REASON, SECONDS, SLOT, STATES

TRIALS = "trials.csv"


def write_outcome(ledger: Ledger, file: Path, folder: Path, command: str) -> None:
    """Raises: UserError where slots are open, and where no method has a setting that worked;
    trials.csv is there then."""
    sweep, pipeline = ledger.sweep, ledger.pipeline
    states = [ledger.state(cell) for cell in sweep.cells]
    left = [state.cell.label for state in states if not state.is_done]
    require(
        not left,
        f"{len(left)} of {len(states)} methods are not finished ({', '.join(left)}): run the same "
        "command again to go on; no table is written before.",
    )
    trials = trials_frame(states).to_csv(index=False, lineterminator="\n")
    worked = [state for state in states if not left_out(state)]
    if not worked:
        with result_set(folder) as new:  # no table of an earlier outcome stays beside it
            write_text(new / TRIALS, trials)
        raise UserError(
            f"no method has a setting that worked: see the reasons in {folder / TRIALS}; change "
            "the search spaces."
        )
    study = Study(
        file=file,
        dataset=None,
        name=ledger.name,
        runs=tuple(state.cell.run(state.setting or {}, sweep.seeds[0]) for state in worked),
        seeds=sweep.seeds,
        on="test",
        tuning=tuning_text(sweep, states),
        split=None,
        redraws_noise=True,
    )
    more = {"command": command, "sweep": sweep_record(sweep, states)}
    results, qualities = build_runs(study, pipeline), measure_rewards(study, pipeline)
    write_study(study, pipeline, results, qualities, folder, more, {TRIALS: trials})


def left_out(state: CellState) -> str:
    """Why the cell has no row in the table; empty where it has one."""
    if state.setting is None:
        reasons = [trial.user_attrs.get(REASON, "") for trial in state.trials]
        return (
            f"no trial completed: {reasons[-1]}"
            if reasons and reasons[-1]
            else "no trial completed"
        )
    for trial in state.finals:
        if trial.state == TrialState.FAIL:
            return f"seed {trial.user_attrs[SLOT]} failed: {trial.user_attrs[REASON]}"
    return ""


def trials_frame(states: list[CellState]) -> pd.DataFrame:
    """One row per trial: algorithm, noise (empty without), trial, state, reason, value, seconds
    and a column param.<field> for each field that some method searches."""
    rows = [_row(state, trial) for state in states for trial in state.trials]
    return pd.DataFrame(rows)


def _row(state: CellState, trial: FrozenTrial) -> dict[str, Any]:
    return {
        "algorithm": state.cell.method.label,
        "noise": noise_name(state.cell.noise),
        "trial": trial.user_attrs[SLOT],
        "state": STATES[trial.state],
        "reason": trial.user_attrs.get(REASON, ""),
        "value": trial.value,
        "seconds": trial.user_attrs[SECONDS],
        **{f"param.{path}": value for path, value in trial.params.items()},
    }


def tuning_text(sweep: Sweep, states: list[CellState]) -> str:
    """For the caption: how settings were chosen, and how many trials failed where."""
    dimensions = len(sweep.methods[0].space)
    text = (
        f"{sweep.trials} trial{'s' * (sweep.trials > 1)} of TPE over {dimensions} "
        f"field{'s' * (dimensions > 1)} for each method under each noise, by {sweep.metric} on "
        f"{sweep.over.__name__} validation targets with seed "
        f"{', '.join(map(str, sweep.tuning_seeds))}; the best then with fresh seeds"
    )
    return "; ".join([text, *_failures(states)])


def _failures(states: list[CellState]) -> Iterator[str]:
    counts = Counter(
        state.cell.label
        for state in states
        for trial in state.trials
        if trial.state == TrialState.FAIL
    )
    where = ", ".join(f"{label} {count}" for label, count in counts.items())
    yield f"{counts.total()} trials failed" + (f" ({where})" if where else "")
    if pruned := sum(state.pruned for state in states):
        yield f"{pruned} trials ended early, behind the median of their method's"
    for state in states:
        if reason := left_out(state):
            yield f"no row for {state.cell.label}, {reason}"


def sweep_record(sweep: Sweep, states: list[CellState]) -> dict[str, Any]:
    """For run.json."""
    return {
        "trials": sweep.trials,
        "tuning_seeds": list(sweep.tuning_seeds),
        "spaces": {method.label: describe(method.space) for method in sweep.methods},
        "sampler": {"class": "TPESampler", "seed": sweep.seed},
        "chosen": {state.cell.label: state.setting for state in states},
        "failed": sum(state.failed for state in states),
        "pruned": sum(state.pruned for state in states),
    }
