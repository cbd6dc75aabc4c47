"""What a trial is worth: on validation targets, by runs that have no test targets at all."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.errors import TrainingFailed, UserError
from recsys_posttrain.evaluation import evaluate, subsets
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.studies.keys import On
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.sweep.definition import Cell, Sweep
from recsys_posttrain.sweep.space import Setting
from recsys_posttrain.training.fit import Report


class _NoTargets:
    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"a trial of a sweep asked for test targets ({name})")


def tuning_pipeline(setup: Setup, root: Path, device: str = "cpu") -> Pipeline:
    """The stages of tuning. The split's test targets are gone before any of them is made, and the
    truth of a world, which only test rows read, is out of reach with them."""
    pipeline = Pipeline(setup, root, device)
    pipeline.data = replace(pipeline.data, test=_NoTargets())  # type: ignore[arg-type]
    return pipeline


def check_rewards(pipeline: Pipeline, sweep: Sweep) -> None:
    """Before anything is trained. Raises: UserError where the rewards serve no method, or leave no
    validation targets to choose by."""
    corpus = pipeline.data.corpus
    reasons = [pipeline.refusal(cell.run({}, 0)) for cell in sweep.cells]
    require(
        not all(reasons),
        f"Sweep: none of its methods can be tuned on {corpus.name}, whose rewards say nothing "
        f"({corpus.reward_scale.missing}); give methods that read no rewards.",
    )
    if sweep.over.__module__ != subsets.__name__:
        return  # it may read what only a policy's rows hold
    rows = evaluate.evaluate_popularity(pipeline.data, targets=pipeline.data.validation).per_user
    weight_N = sweep.over(rows, corpus.reward_scale)
    why = subsets.unusable(sweep.over, weight_N, corpus.reward_scale)
    require(
        not why,
        f"Sweep: over={sweep.over.__name__} cannot choose settings on the validation targets of "
        f"{corpus.name} ({why}); give over=all_targets in its file, or other thresholds such "
        "as --liked 50%.",
    )


def tuning_value(
    pipeline: Pipeline,
    sweep: Sweep,
    cell: Cell,
    setting: Setting,
    report: Report | None = None,
) -> float:
    """Mean over the tuning seeds of the sweep's metric on validation targets.

    report: hears of every validation, seed by seed; may raise to end the trial.

    Raises: TrainingFailed where there is no such number, because the setting is infeasible or
    diverged.
    """
    values = [
        value_of(pipeline, sweep, _run(cell, setting, seed), "validation", report)
        for seed in sweep.tuning_seeds
    ]
    return float(np.mean(values))


def final_value(pipeline: Pipeline, sweep: Sweep, cell: Cell, setting: Setting, seed: int) -> float:
    """The same on test targets, of one run; its rows are kept as stages."""
    return value_of(pipeline, sweep, _run(cell, setting, seed), "test")


def _run(cell: Cell, setting: Setting, seed: int) -> Run:
    try:
        return cell.run(setting, seed)
    except UserError as refusal:
        raise TrainingFailed(str(refusal)) from refusal


def value_of(
    pipeline: Pipeline, sweep: Sweep, run: Run, on: On, report: Report | None = None
) -> float:
    rows = pipeline.evaluate(pipeline.posttrain(run, report), on, run.noise)
    value = _mean(rows, sweep, pipeline.data.corpus.reward_scale)
    if not math.isfinite(value):
        raise TrainingFailed(f"the {on} {sweep.metric} is {value}")
    return value


def _mean(rows: pd.DataFrame, sweep: Sweep, scale: RewardScale) -> float:
    require(
        sweep.metric in rows.columns,
        f"Sweep: metric={sweep.metric!r} is not a column of validation rows; give one of "
        f"{', '.join(rows.select_dtypes('number').columns)}.",
    )
    is_defined = rows[sweep.metric].notna()
    if is_defined.any():  # at single targets it is not, where nothing was left to show
        rows = rows[is_defined]
    weight_N = sweep.over(rows, scale)
    require(
        weight_N.sum() > 0,
        f"Sweep: over={sweep.over.__name__} leaves no target of this data; give another subset.",
    )
    return float(np.average(rows[sweep.metric], weights=weight_N))
