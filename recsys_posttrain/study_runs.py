"""The stages of a study's runs, made in this process or in several (processes.py)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.data.table_file import Duplicates
from recsys_posttrain.load_study import Study, load_study
from recsys_posttrain.pipeline import Pipeline
from recsys_posttrain.processes import cores, finished
from recsys_posttrain.progress import Done, Progress
from recsys_posttrain.run import Run
from recsys_posttrain.stage_keys import On

MOST_WORKERS = 8  # unless more are asked for: each takes memory


class Options(NamedTuple):
    """What the command line gave; None: what the file says. workers: processes of one thread each
    for the runs; 1: this one, with all its threads; None: one per core. on: the targets of the
    table. Settings are chosen on "validation", so that "test" stays unseen."""

    overrides: tuple[str, ...] = ()
    dataset: str | None = None
    seeds: int | None = None
    workers: int | None = None
    device: str = "cpu"
    data_root: str | None = None
    output: Path = Path("runs")
    on: On = "test"
    split: str | None = None
    duplicates: Duplicates | None = None

    def study(self, file: Path) -> Study:
        return load_study(
            file,
            self.overrides,
            self.dataset,
            self.seeds,
            self.data_root,
            self.on,
            self.split,
            self.duplicates,
        )


class RunMade(NamedTuple):
    """trained: the stage of post-training. points: the curve, where weights were kept for one."""

    trained: Path
    rows: pd.DataFrame
    points: pd.DataFrame | None


def run_made(pipeline: Pipeline, run: Run, on: On) -> RunMade:
    """From its stages; makes those that are missing."""
    folder = pipeline.posttrained_folder(run)
    rows = pipeline.rows_of(folder, on, run.noise)
    has_points = run.posttraining.snapshots
    return RunMade(folder, rows, pipeline.curve_of(folder, on, run.noise) if has_points else None)


def number_of_workers(options: Options, study: Study) -> int:
    """It depends on the study, not on what is left of it, because the number of threads decides
    last digits: a study that was interrupted ends as an unbroken one.

    Raises: UserError for fewer than 1, or several that would share a device.
    """
    asked, device = options.workers, options.device
    require(asked is None or asked >= 1, f"--workers {asked}: give at least 1.")
    require(
        device == "cpu" or asked in (None, 1),
        f"--workers {asked}: only one process can use --device {device}; leave --workers out.",
    )
    if device != "cpu":
        return 1
    return min(asked or min(cores(), MOST_WORKERS), len(study.runs) * len(study.seeds))


def make_in_processes(
    file: Path, options: Options, study: Study, pipeline: Pipeline, progress: Progress, count: int
) -> None:
    """Makes the stages of the runs that are not there; they are read from disk afterwards."""
    missing = [
        (index, seed)
        for seed in study.seeds
        for index, run in enumerate(study.runs)
        if not _is_made(pipeline, study.with_seed(run, seed), study.on)
    ]
    if not missing:
        return
    progress.close()
    there = set((pipeline.root / "stages").glob("*"))
    work = partial(_make, file, options)
    log = options.output / study.name / "workers.log"
    for _, stages in finished(work, missing, count, "post-training", log):
        for done in stages:
            # One that another worker made meanwhile: that one says how long it took.
            if done.seconds is not None or done.folder in there:
                progress.add(done)


def _is_made(pipeline: Pipeline, run: Run, on: On) -> bool:
    keys, noise = pipeline.keys, replace(run.noise, log=None)
    trained, has_judge = keys.posttrain(run).folder, pipeline.rewards.judge_folder is not None
    stages = [trained, keys.rows(trained, on, noise, has_judge).folder]
    if run.posttraining.snapshots:
        stages.append(keys.curve(trained, on, noise, has_judge).folder)
    return all(stage.exists() for stage in stages)


def _make(file: Path, options: Options, task: tuple[int, int]) -> Sequence[Done]:
    """A worker's: the stages that one run (its place in the study, and a seed) needed."""
    study, pipeline = _loaded(file, options)
    stages: list[Done] = []
    progress = Progress(stages.append)
    pipeline.announce = progress.announce
    index, seed = task
    run_made(pipeline, study.with_seed(study.runs[index], seed), study.on)
    progress.close()
    return stages


@cache
def _loaded(file: Path, options: Options) -> tuple[Study, Pipeline]:
    """Once per process. An experiment file may define algorithms, which cannot be sent to it."""
    study = options.study(file)
    pipeline = Pipeline(study.runs[0], options.output, options.device)
    # Made by the main process, which has said so.
    _ = pipeline.pretrained_folder, pipeline.rewards.folder, pipeline.rewards.judge_folder
    return study, pipeline
