"""What a finished sweep leaves: trials.csv, and the tables of a study of the chosen settings."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from recsys_posttrain.config import describe, require
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import write_text
from recsys_posttrain.report.cells import Sheet
from recsys_posttrain.report.grid import selection_block
from recsys_posttrain.report.render import markdown
from recsys_posttrain.report.study_folder import TRIALS
from recsys_posttrain.studies.baselines import alone, baselines
from recsys_posttrain.studies.choose import HINDSIGHT, selections
from recsys_posttrain.studies.execute import build_runs
from recsys_posttrain.studies.folder import result_set
from recsys_posttrain.studies.left_out import refused
from recsys_posttrain.studies.load import Study
from recsys_posttrain.studies.qualities import measure_rewards
from recsys_posttrain.studies.rules import OWN, RULES
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.study import chosen_baselines, write_study
from recsys_posttrain.sweep.definition import Sweep
from recsys_posttrain.sweep.ledger import CellState, Ledger
from recsys_posttrain.sweep.objective import Objective
from recsys_posttrain.sweep.queue import SLOT, reason_of
from recsys_posttrain.sweep.so_far import trials_frame
from recsys_posttrain.sweep.space import described, edges


def write_outcome(ledger: Ledger, file: Path, folder: Path, command: str) -> None:
    """Raises: UserError where slots are open, and where no method has a setting that worked;
    trials.csv is there then."""
    sweep, pipeline = ledger.sweep, ledger.objective.pipeline
    states = ledger.states()
    left = [state.cell.label for state in states if state.left]
    require(
        not left,
        f"{len(left)} of {len(states)} methods are not finished ({', '.join(left)}): run the same "
        "command again to go on; no table is written before.",
    )
    trials = trials_frame(states, ledger.objective).to_csv(index=False, lineterminator="\n")
    worked = [state for state in states if not left_out(state)]
    if not worked:
        with result_set(folder) as new:  # no table of an earlier outcome stays beside it
            write_text(new / TRIALS, trials)
        raise UserError(
            f"no method has a setting that worked: see the reasons in {folder / TRIALS}; change "
            "the search spaces."
        )
    tuned = bool(sweep.seeds)
    runs = tuple(_chosen(worked, sweep) if tuned else _tried(worked, sweep))
    study = Study(
        file=file,
        dataset=None,
        name=ledger.name,
        runs=runs,
        baselines=tuple(alone(baselines(runs))),
        seeds=sweep.seeds if tuned else sweep.tuning_seeds,
        eval_split="test" if tuned else "validation",
        tuning=tuning_text(sweep, states),
        split=None,
        redraws_noise=True,
    )
    more = {"command": command, "sweep": sweep_record(sweep, states)}
    refusals = refused(study, pipeline)
    study = chosen_baselines(study, pipeline, refusals)
    results, qualities = build_runs(study, pipeline, refusals), measure_rewards(study, pipeline)
    texts = {TRIALS: trials, **_selection(ledger.objective, worked)}
    write_study(study, pipeline, results, qualities, folder, more, texts)


def _chosen(states: list[CellState], sweep: Sweep) -> Iterator[Run]:
    for state in states:
        seed = sweep.seeds[0]
        nothing = state.setting is None
        yield state.cell.nothing(seed) if nothing else state.cell.run(state.setting or {}, seed)


def _selection(objective: Objective, states: list[CellState]) -> dict[str, str]:
    """What each rule chooses among a cell's trials and doing nothing, and how often it does so when
    users and seeds are drawn again; by file. Trials of other machines are left out."""
    frames: list[pd.DataFrame] = []
    for state in states:
        complete = [trial.params for trial in state.trials if trial.value is not None]
        frames += objective.tried(state.cell, complete)
    rows: pd.DataFrame = pd.concat(frames, ignore_index=True)
    found = selections(rows, rows, objective.pipeline.keys.scale, value=RULES[OWN])
    found = found[found["rule"] != HINDSIGHT]
    caption = (
        f"{OWN}, on validation targets, of what each rule chooses among the trials and doing "
        "nothing, and how often it does so when users and seeds are drawn again. "
        f"{len(frames)} runs."
    )
    return {
        "selection.csv": found.round(6).to_csv(index=False),
        "selection.md": markdown(Sheet(caption, [selection_block(found)])),
    }


def _tried(states: list[CellState], sweep: Sweep) -> Iterator[Run]:
    """ASFT, temperature=0.5: of each complete trial its run."""
    for state in states:
        for trial in state.trials:
            if trial.state == TrialState.COMPLETE:
                name = ", ".join(filter(None, [state.cell.label, described(trial.params)]))
                yield replace(state.cell.run(trial.params, sweep.tuning_seeds[0]), name=name)


def left_out(state: CellState) -> str:
    """Why the cell has no row in the table; empty where it has one."""
    if state.does_nothing:
        return ""
    if state.setting is None:
        reason = reason_of(state.trials[-1])
        return f"no trial completed: {reason}" if reason else "no trial completed"
    for trial in state.finals:
        if trial.state == TrialState.FAIL:
            return f"seed {trial.user_attrs[SLOT]} failed: {reason_of(trial)}"
    return ""


def tuning_text(sweep: Sweep, states: list[CellState]) -> str:
    """For the caption: how settings were chosen, and how many trials failed where."""
    spaces = {method.label: method.space for method in sweep.methods}
    text = (
        f"{sweep.sampler.described(spaces, sweep.trials)}, by {sweep.metric} on "
        f"{sweep.over.__name__} validation targets with seed "
        f"{', '.join(map(str, sweep.tuning_seeds))}; "
        + ("the best then with fresh seeds" if sweep.seeds else "this table is the tuning")
    )
    return "; ".join([text, *_failures(states)])


def _failures(states: list[CellState]) -> Iterator[str]:
    counts = {state.cell.label: _failed(state.trials) for state in states}
    where = ", ".join(f"{label} {count}" for label, count in counts.items() if count)
    yield f"{sum(counts.values())} trials failed" + (f" ({where})" if where else "")
    for state in states:
        if state.does_nothing:
            yield f"{state.cell.label} does nothing, because no trial beat the pretrained policy"
        elif at := edges(state.cell.method.space, state.setting or {}):
            yield f"{state.cell.label} is at the edge of {' and '.join(at)}"
        if reason := left_out(state):
            yield f"no row for {state.cell.label}, {reason}"


def sweep_record(sweep: Sweep, states: list[CellState]) -> dict[str, Any]:
    """For run.json."""
    return {
        "trials": sweep.trials,
        "tuning_seeds": list(sweep.tuning_seeds),
        "spaces": {method.label: describe(method.space) for method in sweep.methods},
        "sampler": {**describe(sweep.sampler), "seed": sweep.seed},
        "chosen": {state.cell.label: state.setting for state in states},
        "nothing": {state.cell.label: state.nothing for state in states},
        "failed": sum(_failed((*state.trials, *state.finals)) for state in states),
    }


def _failed(outcomes: Iterable[FrozenTrial]) -> int:
    return sum(trial.state == TrialState.FAIL for trial in outcomes)
