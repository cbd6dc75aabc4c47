"""Which stages a study needs of each run, and how far they are, as their folders say."""

import json
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from recsys_posttrain.algorithms.base import reads_rewards
from recsys_posttrain.config import describe
from recsys_posttrain.plan import METRICS
from recsys_posttrain.progress import Look, Row
from recsys_posttrain.rewards.control import TrueRewards
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.store import partial_of
from recsys_posttrain.studies.choose import NOTHING
from recsys_posttrain.studies.keys import Stage
from recsys_posttrain.studies.load import Study
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run
from recsys_posttrain.tracking.curves import TRIAL

COLUMNS = ("method", "post-training", "evaluation")
TAIL = 4096  # bytes of metrics.jsonl, more than a line has


def stages_of(study: Study, run: Run, pipeline: Pipeline) -> list[Stage]:
    """Those of a run alone; that of its training first."""
    stages = pipeline.at(run.setup)
    found = stages.stages_of(run, study.eval_split)
    policy = found[0].folder if run.is_trained else run
    for each in tried(study, run, pipeline, policy).values():
        found.append(stages.keys.rows(each, "validation", run.noise))
    if study.is_grid and run.noise != RewardNoise():
        found.append(stages.keys.noise_report(run.noise))
    return found


def tried(study: Study, run: Run, pipeline: Pipeline, policy: Path | Run) -> dict[str, Path | Run]:
    """In a grid, the run's own policy, and where its method has several strengths doing nothing."""
    if not (study.is_grid and _is_choice(run)):
        return {}
    own = {run.strength: policy}
    nothing = pipeline.at(run.setup).keys.pretrain.folder
    return {NOTHING: nothing, **own} if study.strengths.get(run.label, 1) > 1 else own


def _is_choice(run: Run) -> bool:
    """Whether its strength is to be chosen. What reads no rewards has none, and validation is
    never by the truth."""
    if run.is_trained:
        return True
    is_true = isinstance(run.control, TrueRewards) or run.noise.reads_truth
    return reads_rewards(run.algorithm) and not is_true


class Stages:
    """How far the runs of a study are. Stages that are there at first are reused."""

    def __init__(
        self,
        study: Study,
        pipeline: Pipeline,
        left_out: Collection[str],
        known: Collection[tuple[str, int]] = (),
    ) -> None:
        """left_out: titles of runs that are not run, or fail meanwhile. known: by title and seed,
        those that were built before."""
        self.study, self.pipeline = study, pipeline
        self.left_out = left_out
        self.of: dict[str, list[tuple[Run, list[Stage]]]] = {}
        for seed, run in study.with_seeds():
            title = study.title(run)
            if title not in left_out and (title, seed) not in known:
                self.of.setdefault(title, []).append((run, stages_of(study, run, pipeline)))
        runs = [each for several in self.of.values() for each in several]
        self.there = {s.folder for _, stages in runs for s in stages if s.folder.exists()}
        self.count = sum(any(s.folder not in self.there for s in stages) for _, stages in runs)

    def planned(self) -> list[dict[str, Any]]:
        """For tracking/curves.py: of each run that is trained its stage, and in a grid `rows`, the
        stage of the rows by which it may be chosen."""
        return [
            {
                "name": title,
                "seed": run.seed,
                "stage": stages[0].folder.name,
                "config": describe(run),
                **self._as_candidate(run, stages[0].folder),
            }
            for title, runs in self.of.items()
            for run, stages in runs
            if run.is_trained
        ]

    def _as_candidate(self, run: Run, policy: Path) -> dict[str, str]:
        if not self.study.is_grid:
            return {}
        if run.strength not in tried(self.study, run, self.pipeline, policy):
            return {"kind": TRIAL}
        keys = self.pipeline.at(run.setup).keys
        return {"kind": TRIAL, "rows": keys.rows(policy, "validation", run.noise).folder.name}

    def look(self) -> Look:
        rows = [self._row(title, runs) for title, runs in self.of.items()]
        left = sum(self._left(*run) for title in self.of for run in self._going_on(title))
        return Look(rows, self.count - left, left)

    def _going_on(self, title: str) -> list[tuple[Run, list[Stage]]]:
        return [] if title in self.left_out else self.of[title]

    def _left(self, run: Run, stages: list[Stage]) -> float:
        """Which part of a run is left: 1 before it begins."""
        if all(stage.folder.exists() for stage in stages):
            return 0.0
        latest, steps = latest_metrics(stages[0]), run.posttraining.steps
        if not run.is_trained or steps is None or latest is None:
            return 1.0
        return 1.0 - min(1.0, latest["step"] / steps)

    def _row(self, title: str, runs: list[tuple[Run, list[Stage]]]) -> Row:
        if title in self.left_out:
            return Row(title, ("left out", ""), is_done=True)
        is_trained = runs[0][0].is_trained
        training = [(run, stages[:1]) for run, stages in runs] if is_trained else []
        rest = [(run, stages[1:] if is_trained else stages) for run, stages in runs]
        cells = (self._cell(training) if is_trained else "none", self._cell(rest))
        stages = [stage.folder for _, each in runs for stage in each]
        is_running = any(partial_of(folder).exists() for folder in stages)
        return Row(title, cells, is_running, all(folder.exists() for folder in stages))

    def _cell(self, runs: list[tuple[Run, list[Stage]]]) -> str:
        """Of all seeds: how many have it, or how far the one is that runs."""
        folders = [[stage.folder for stage in stages] for _, stages in runs]
        done = sum(all(folder.exists() for folder in each) for each in folders)
        if done == len(runs):
            reused = sum(self.there.issuperset(each) for each in folders)
            return "reused" if reused == done else f"done, {reused} reused" if reused else "done"
        words = [f"{done} of {len(runs)}"] if len(runs) > 1 and done else []
        for run, stages in runs:
            for stage in stages:
                if not stage.folder.exists() and partial_of(stage.folder).exists():
                    return ", ".join([*words, _step(run, latest_metrics(stage))])
        return ", ".join(words)


def _step(run: Run, latest: dict[str, float] | None) -> str:
    if latest is None:
        return "running"
    steps = f"/{run.posttraining.steps}" if run.posttraining.steps else ""
    return f"step {latest['step']}{steps}, loss {latest['loss']:.4g}"


def latest_metrics(stage: Stage) -> dict[str, float] | None:
    """The last line with a loss that a training wrote; None: none yet."""
    with suppress(OSError):
        with (partial_of(stage.folder) / METRICS).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            lines = file.read().splitlines()
        for line in reversed(lines):
            with suppress(ValueError):  # the first may begin, and the last end, in its middle
                values = json.loads(line)
                if "loss" in values:
                    return dict(values)
    return None
