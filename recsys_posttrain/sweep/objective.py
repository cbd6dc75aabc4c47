"""What a trial is worth: on validation targets, by runs that have no test targets at all.

Of this package only this module, and outcome.py, know how a run is built.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from recsys_posttrain.config import describe, digest, require
from recsys_posttrain.errors import TrainingFailed, UserError
from recsys_posttrain.evaluation import subsets
from recsys_posttrain.evaluation.off_policy import ESTIMATORS
from recsys_posttrain.progress import say
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.studies.choose import few_targets
from recsys_posttrain.studies.keys import EvalSplit
from recsys_posttrain.studies.left_out import by_reason
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.rules import validation_rows, weighted_mean
from recsys_posttrain.studies.run import Run
from recsys_posttrain.sweep.definition import Cell, Sweep
from recsys_posttrain.sweep.space import Setting, described
from recsys_posttrain.untrained import Popularity


class _NoTargets:
    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"a trial of a sweep asked for test targets ({name})")


class Objective:
    """pipeline: of the final runs and the shared stages. Trials have another, without the test
    targets, and the truth of a world, which only test rows read, is out of reach with them."""

    def __init__(self, sweep: Sweep, pipeline: Pipeline) -> None:
        self.sweep = sweep
        self.pipeline = pipeline
        self._nothing: dict[RewardNoise, float] = {}
        self._stages: dict[tuple[Any, ...], list[str]] = {}

    @cached_property
    def tuning(self) -> Pipeline:
        pipeline = Pipeline(self.sweep.base.setup, self.pipeline.root, self.pipeline.device)
        pipeline.data = replace(pipeline.data, test=_NoTargets())  # type: ignore[arg-type]
        return pipeline

    def build_shared(self) -> None:
        """What all trials and runs begin with. Raises: UserError as `check`."""
        self.check()
        self.pipeline.pretrain()
        self.pipeline.rewards.measure()
        self.pipeline.rewards.measure_judge()

    def check(self) -> None:
        """Raises: UserError where the rewards serve no method, or leave no validation targets to
        choose by."""
        sweep, pipeline = self.sweep, self.pipeline
        corpus = pipeline.data.corpus
        reasons = {cell.label: pipeline.refusal(cell.run({}, 0)) for cell in sweep.cells}
        missing = corpus.reward_scale.missing
        require(
            not all(reasons.values()),
            f"Sweep: none of its methods can be tuned on {corpus.name}"
            + (
                f", whose rewards are uninformative ({missing}); give methods that read no rewards."
                if missing
                else f": {by_reason(reasons)}; give others."
            ),
        )
        if sweep.metric in ESTIMATORS:
            require(
                pipeline.data.validation.propensities_N is not None,
                f"Sweep: metric={sweep.metric!r} weighs by propensities, and {corpus.name} states "
                "none; give another metric, or a log with the column propensity.",
            )
            require(
                sweep.over is subsets.all_targets,
                f"Sweep: over={sweep.over.__name__} picks targets by the reward that "
                f"{sweep.metric!r} estimates, so the estimate would be of nothing; give "
                "over=all_targets.",
            )
        if sweep.over.__module__ != subsets.__name__:
            return  # it may read what only a policy's rows hold
        rewards_N = corpus.reward_scale.from_stars(pipeline.data.validation.rewards_N.double())
        weight_N = sweep.over(pd.DataFrame({"reward": rewards_N.numpy()}), corpus.reward_scale)
        why = subsets.unusable(sweep.over, weight_N, corpus.reward_scale)
        require(
            not why,
            f"Sweep: over={sweep.over.__name__} cannot choose settings on the validation targets "
            f"of {corpus.name} ({why}); give over=all_targets in its file, or other thresholds "
            "such as --liked 50%.",
        )
        candidates = 1 + max(cell.trials for cell in sweep.cells)
        if warning := few_targets(pipeline.data, sweep.over, candidates):
            say(warning)

    def trial(self, cell: Cell, setting: Setting) -> float:
        """The mean over the tuning seeds of the sweep's metric on validation targets.

        Raises: TrainingFailed where there is no such number, because the setting is infeasible or
        diverged.
        """
        seeds = self.sweep.tuning_seeds
        return float(np.mean([self._value(cell, setting, seed, "validation") for seed in seeds]))

    def nothing(self, cell: Cell) -> float:
        """The same of the pretrained policy."""
        if cell.noise not in self._nothing:
            runs = [cell.nothing(seed) for seed in self.sweep.tuning_seeds]
            rows = [self.tuning.evaluate(run, "validation", run.noise) for run in runs]
            self._nothing[cell.noise] = float(np.mean([self._mean(each) for each in rows]))
        return self._nothing[cell.noise]

    def stages(self, cell: Cell, setting: Setting) -> list[str]:
        """The names of those in which a trial is trained, one per tuning seed; none where the
        algorithm refuses the setting. Each is computed once: all are asked for with every trial."""
        key = (cell.label, *setting.items())
        if key not in self._stages:
            self._stages[key] = []
            with suppress(UserError):
                runs = [cell.run(setting, seed) for seed in self.sweep.tuning_seeds]
                keys = self.pipeline.keys
                self._stages[key] = [keys.posttrain(run).folder.name for run in runs]
        return self._stages[key]

    def final(self, cell: Cell, setting: Setting, seed: int) -> float:
        """The value on test targets, of one run; its rows are kept as stages."""
        return self._value(cell, setting, seed, "test")

    def _value(self, cell: Cell, setting: Setting, seed: int, eval_split: EvalSplit) -> float:
        try:
            run = cell.run(setting, seed)
        except UserError as refusal:
            raise TrainingFailed(str(refusal)) from refusal
        pipeline = self.pipeline if eval_split == "test" else self.tuning
        value = self._mean(pipeline.evaluate(pipeline.posttrain(run), eval_split, run.noise))
        if not math.isfinite(value):
            raise TrainingFailed(f"the {eval_split} {self.sweep.metric} is {value}")
        return value

    def _mean(self, rows: pd.DataFrame) -> float:
        return mean(rows, self.sweep, self.pipeline.keys.scale)

    def tried(self, cell: Cell, settings: Iterable[Setting]) -> Iterator[pd.DataFrame]:
        """The validation rows of doing nothing and of those settings whose runs lie on this
        machine, seed by seed, named as in a study."""
        for seed in self.sweep.tuning_seeds:
            nothing = cell.nothing(seed)
            rows = self.tuning.evaluate(nothing, "validation", nothing.noise)
            yield validation_rows(rows).assign(**nothing.row, seed=seed)
            for setting in settings:
                run = replace(cell.run(setting, seed), strength=described(setting))
                trained = self.tuning.keys.posttrain(run).folder
                if trained.exists():
                    rows = self.tuning.evaluate(trained, "validation", run.noise)
                    yield validation_rows(rows).assign(**run.row, seed=seed)

    def key(self, cell: Cell) -> str:
        """Of what a cell's trials depend on: the code, data and configuration behind its runs, and
        how they are chosen."""
        sweep, stages = self.sweep, self.pipeline.keys
        scale = stages.scale
        runs: list[Run] = [cell.run({}, seed) for seed in sweep.tuning_seeds]
        popular = replace(sweep.base, algorithm=Popularity())  # stands for every policy
        key = {
            "trained": [stages.posttrain(run).folder.name for run in runs],
            "rows": [stages.rows(popular, "validation", run.noise).folder.name for run in runs],
            "space": cell.method.space,
            "chosen by": [sweep.metric, sweep.over, sweep.sampler, sweep.seed],
            "thresholds": [scale.liked, scale.top, scale.disliked],
        }
        return digest(key, 8)

    def definition(self) -> dict[str, Any]:
        """All that the results depend on, as JSON: the sweep, and digests of data and code.

        The dataset is its content's hash, so that a file may lie elsewhere on another machine.
        """
        sweep, keys = describe(self.sweep), self.pipeline.keys
        del sweep["base"]["setup"]["dataset"]
        sweep["methods"] = {method.label: describe(method) for method in self.sweep.methods}
        return {
            **sweep,
            "data": keys.corpus.content_hash,
            "code and data of": {
                "pretraining": keys.pretrain.folder.name,
                "the reward model": keys.reward().folder.name,
                **{cell.label: self.key(cell) for cell in self.sweep.cells},
            },
        }


def mean(rows: pd.DataFrame, sweep: Sweep, scale: RewardScale) -> float:
    """Of the sweep's metric over its targets."""
    require(
        sweep.metric in rows.columns,
        f"Sweep: metric={sweep.metric!r} is not a column of validation rows; give one of "
        f"{', '.join(rows.select_dtypes('number').columns)}.",
    )
    weight_N = sweep.over(rows, scale)
    require(
        weight_N.sum() > 0,
        f"Sweep: over={sweep.over.__name__} leaves no target of this data; give another subset.",
    )
    return weighted_mean(rows[sweep.metric], weight_N)
