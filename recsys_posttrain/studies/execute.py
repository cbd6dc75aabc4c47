"""The stages of a study's runs, made in this process or in several (processes.py)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.data.table_file import Duplicates
from recsys_posttrain.errors import TrainingFailed
from recsys_posttrain.progress import Done, Progress, console
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.studies.keys import On
from recsys_posttrain.studies.load import Study, load_study
from recsys_posttrain.studies.parallel import cores, finished
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run

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
    thresholds: Thresholds = Thresholds()
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
            self.thresholds,
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
    has_points = run.posttraining.snapshots and not pipeline.rewards.missing
    return RunMade(folder, rows, pipeline.curve_of(folder, on, run.noise) if has_points else None)


class Made(NamedTuple):
    """What a study computed. rows: one per target, method and seed. trained: the stages of
    post-training by label/seed. points: of the curves of over-optimisation, one frame per run.
    left_out: by label, why a method has no row."""

    rows: pd.DataFrame
    trained: dict[str, Path]
    points: list[pd.DataFrame]
    left_out: dict[str, str]


def shared_rows(study: Study, pipeline: Pipeline) -> list[pd.DataFrame]:
    """Of what is not post-trained: one row each, as no seed of post-training changes them."""
    return [
        pipeline.rows_of(policy_folder, study.on).assign(method=name, seed=study.seeds[0])
        for name, policy_folder in (
            ("Popularity", None),
            ("Pretrained", pipeline.pretrained_folder),
        )
    ]


def made_by(
    study: Study,
    pipeline: Pipeline,
    shared: list[pd.DataFrame] | None = None,
    left_out: dict[str, str] | None = None,
) -> Made:
    """Runs what is not done yet. shared: of `shared_rows`. left_out: by label, why a method is not
    run.

    Raises: UserError where the training of every method fails.
    """
    left_out = dict(left_out or {})
    rows = list(shared or shared_rows(study, pipeline))
    trained: dict[str, Path] = {}
    points: list[pd.DataFrame] = []
    for seed in study.seeds:
        for run in (study.with_seed(run, seed) for run in study.runs):
            if run.label in left_out:
                continue
            try:
                made = run_made(pipeline, run, study.on)
            except TrainingFailed as failure:
                left_out[run.label] = f"seed {seed}: {failure}"
                continue
            trained[f"{run.label}/{seed}"] = made.trained
            rows.append(made.rows.assign(method=run.label, seed=seed))
            if made.points is not None:
                points.append(made.points.assign(method=run.label, seed=seed))
    if left_out:
        console.print(f"left out: {by_reason(left_out)}", markup=False, soft_wrap=True)
    require(
        len(left_out) < len(study.runs),
        f"{study.file}: no method could be trained: {by_reason(left_out)}",
    )
    every = pd.concat(rows, ignore_index=True)
    return Made(
        every[~every["method"].isin(left_out)].reset_index(drop=True),
        {name: path for name, path in trained.items() if name.rpartition("/")[0] not in left_out},
        [each for each in points if each["method"].iloc[0] not in left_out],
        left_out,
    )


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


def refused(study: Study, pipeline: Pipeline) -> dict[str, str]:
    """By label, why the log's rewards cannot serve a run.

    Raises: UserError where they serve none.
    """
    reasons = {run.label: why for run in study.runs if (why := pipeline.refusal(run))}
    require(
        len(reasons) < len(study.runs),
        f"{study.file}: none of its methods can be run on {pipeline.data.corpus.name}, whose "
        f"rewards say nothing ({pipeline.rewards.missing}); add BC or another that reads none.",
    )
    return reasons


def by_reason(left_out: dict[str, str]) -> str:
    """ASFT, DPO (no rewards to read); RWR (seed 0: ...)."""
    reasons = dict.fromkeys(left_out.values())
    labels = {
        why: ", ".join(name for name, each in left_out.items() if each == why) for why in reasons
    }
    return "; ".join(f"{names} ({why})" for why, names in labels.items())


def make_in_processes(
    file: Path,
    options: Options,
    study: Study,
    pipeline: Pipeline,
    progress: Progress,
    count: int,
    left_out: dict[str, str],
) -> None:
    """Makes the stages of the runs that are not there; they are read from disk afterwards.

    left_out: by label, why a run is not made; those that fail are added.
    """
    missing = [
        (index, seed)
        for seed in study.seeds
        for index, run in enumerate(study.runs)
        if run.label not in left_out
        and not _is_made(pipeline, study.with_seed(run, seed), study.on)
    ]
    if not missing:
        return
    progress.close()
    there = set((pipeline.root / "stages").glob("*"))
    work = partial(_make, file, options)
    log = options.output / study.name / "workers.log"
    for (index, _), (stages, failure) in finished(work, missing, count, "post-training", log):
        if failure:
            left_out.setdefault(study.runs[index].label, failure)
        for done in stages:
            # One that another worker made meanwhile: that one says how long it took.
            if done.seconds is not None or done.folder in there:
                progress.add(done)


def _is_made(pipeline: Pipeline, run: Run, on: On) -> bool:
    keys, noise = pipeline.keys, replace(run.noise, log=None)
    trained, has_judge = keys.posttrain(run).folder, pipeline.rewards.judge_folder is not None
    stages = [trained, keys.rows(trained, on, noise, has_judge).folder]
    if run.posttraining.snapshots and not pipeline.rewards.missing:
        stages.append(keys.curve(trained, on, noise, has_judge).folder)
    return all(stage.exists() for stage in stages)


def _make(file: Path, options: Options, task: tuple[int, int]) -> tuple[Sequence[Done], str]:
    """A worker's: the stages that one run (its place in the study, and a seed) needed, and why its
    training failed."""
    study, pipeline = _loaded(file, options)
    stages: list[Done] = []
    progress = Progress(stages.append)
    pipeline.announce = progress.announce
    index, seed = task
    try:
        run_made(pipeline, study.with_seed(study.runs[index], seed), study.on)
    except TrainingFailed as reason:
        return stages, f"seed {seed}: {reason}"
    progress.close()
    return stages, ""


@cache
def _loaded(file: Path, options: Options) -> tuple[Study, Pipeline]:
    """Once per process. An experiment file may define algorithms, which cannot be sent to it."""
    study = options.study(file)
    pipeline = Pipeline(study.runs[0], options.output, options.device)
    # Made by the main process, which has said so.
    _ = pipeline.pretrained_folder
    if not pipeline.rewards.missing:
        _ = pipeline.rewards.folder, pipeline.rewards.judge_folder
    return study, pipeline
