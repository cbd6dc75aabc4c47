"""The stages of a study's runs, built in this process or by others (engine.py)."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.data.table_file import FileRules
from recsys_posttrain.errors import TrainingFailed
from recsys_posttrain.progress import Done, Progress, console
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.studies.choose import Trial, validation_frames
from recsys_posttrain.studies.engine import Engine, Processes
from recsys_posttrain.studies.keys import EvalSplit
from recsys_posttrain.studies.left_out import by_reason
from recsys_posttrain.studies.load import Study, load_study
from recsys_posttrain.studies.own_files import OwnFiles
from recsys_posttrain.studies.parallel import cores
from recsys_posttrain.studies.pipeline import Pipeline, RunResult
from recsys_posttrain.studies.rules import validation_rows
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.stages import stages_of, tried

MOST_WORKERS = 8  # unless more are asked for: each takes memory


class Options(NamedTuple):
    """What the command line gave; None: what the file says. workers: of the engine, for the runs;
    None: one per core of this machine, or as many as Ray has room for. devices: processes that
    share pretraining. eval_split: the targets of the table. Settings are chosen on "validation", so
    that "test" stays unseen. full_seeds, methods, own: as in load_study."""

    overrides: tuple[str, ...] = ()
    dataset: str | None = None
    seeds: int | None = None
    workers: int | None = None
    device: str = "cpu"
    devices: int = 1
    data_root: str | None = None
    output: Path = Path("runs")
    eval_split: EvalSplit = "test"
    split: str | None = None
    thresholds: Thresholds = Thresholds()
    rules: FileRules = FileRules()
    full_seeds: bool = False
    methods: str | None = None
    own: OwnFiles = OwnFiles()
    engine: Engine = Processes()

    def study(self, file: Path) -> Study:
        return load_study(
            file, self.overrides, self.dataset, self.seeds, self.data_root, self.eval_split,
            self.split, self.thresholds, self.rules, self.full_seeds, self.methods,
            self.own,
        )  # fmt: skip


class Results(NamedTuple):
    """What a study computed.

    rows: one per target, method and seed.
    trained: the stages of post-training, by title/seed.
    points: of the curves of over-optimisation, one frame per run.
    left_out: by `Study.title`, why a run has no row.
    noise: by title, what the noise of a run does.
    validation: of a grid, what strengths are chosen by: one row per run and seed (choose.py).
    targets: the same, one row per target.
    """

    rows: pd.DataFrame
    trained: dict[str, Path]
    points: list[pd.DataFrame]
    left_out: dict[str, str]
    noise: dict[str, dict[str, dict[str, float]]]
    validation: pd.DataFrame
    targets: pd.DataFrame


Known = dict[tuple[str, int], tuple[RunResult, dict[str, pd.DataFrame]]]


def build_runs(
    study: Study,
    pipeline: Pipeline,
    left_out: dict[str, str] | None = None,
    known: Known | None = None,
) -> Results:
    """Builds what is not there yet. left_out: by title, why a run is not run; those that fail are
    added. known: what an earlier call read, by title and seed; what this one reads is added.

    Raises: UserError where the training of every run fails.
    """
    left_out = {} if left_out is None else left_out
    known = {} if known is None else known
    rows = []
    trained: dict[str, Path] = {}
    points: list[pd.DataFrame] = []
    trials: list[Trial] = []
    for seed, run in study.with_seeds():
        title = study.title(run)
        if title in left_out:
            continue
        try:
            if (title, seed) not in known:
                known[title, seed] = _build_run(study, run, pipeline)
        except TrainingFailed as failure:
            left_out[title] = f"seed {seed}: {failure}"
            continue
        built, chosen_by = known[title, seed]
        rows.append((title, _named(study, built.rows, **run.row, seed=seed)))
        if built.trained is not None:
            trained[f"{title}/{seed}"] = built.trained
        trials += [
            Trial(title, {**run.row, "strength": strength, "seed": seed}, targets)
            for strength, targets in chosen_by.items()
        ]
        if built.points is not None:
            points.append(built.points.assign(method=title, seed=seed))
    if left_out:
        console.print(f"left out: {by_reason(left_out)}", markup=False, soft_wrap=True)
    require(
        any(study.title(run) not in left_out for run in study.runs),
        f"{study.file}: no method could be trained: {by_reason(left_out)}",
    )
    trials = [each for each in trials if each.title not in left_out]
    return Results(
        pd.concat([each for title, each in rows if title not in left_out], ignore_index=True),
        {name: path for name, path in trained.items() if name.rpartition("/")[0] not in left_out},
        [each for each in points if each["method"].iloc[0] not in left_out],
        left_out,
        {
            study.title(run): _noise_report(study, run, pipeline)
            for run in study.rows
            if run.noise != RewardNoise() and study.title(run) not in left_out
        },
        *validation_frames(trials, pipeline.data.corpus.reward_scale),
    )


def _named(study: Study, rows: pd.DataFrame, **names: Any) -> pd.DataFrame:
    """The rows with what they are of. A grid has too many to keep their lists too."""
    kept = rows.drop(columns=["top10", "top50"], errors="ignore") if study.is_grid else rows
    return kept.assign(**names)


def _build_run(
    study: Study, run: Run, pipeline: Pipeline
) -> tuple[RunResult, dict[str, pd.DataFrame]]:
    """All that the study needs of a run, and by strength what can be chosen by."""
    stages = pipeline.at(run.setup)
    built = stages.build_run(run, study.eval_split)
    policies = tried(study, run, pipeline, built.trained or run)
    return built, {
        strength: validation_rows(stages.evaluate(policy, "validation", run.noise))
        for strength, policy in policies.items()
    }


def _noise_report(study: Study, run: Run, pipeline: Pipeline) -> dict[str, dict[str, float]]:
    """Where seeds differ in the noise or in the reward model, means over them."""
    differ = study.redraws_noise or study.full_seeds
    runs = [study.with_seed(run, seed) for seed in study.seeds[: None if differ else 1]]
    reports = [
        pipeline.at(each.setup).rewards.measure_noise(each.noise, study.eval_split) for each in runs
    ]
    return {
        place: {
            name: float(np.mean([report[place][name] for report in reports])) for name in measured
        }
        for place, measured in reports[0].items()
    }


def number_of_workers(options: Options, study: Study) -> int:
    """It depends on the study, not on what is left of it, because the number of threads decides
    last digits: a study that was interrupted ends as an unbroken one.

    Raises: UserError for fewer than 1, or several that would share a device.
    """
    usual = min(cores(), MOST_WORKERS)
    workers = options.engine.workers(options.workers, options.device, usual)
    return min(workers, len(study.runs) * len(study.seeds))


def build_in_processes(
    file: Path,
    options: Options,
    study: Study,
    pipeline: Pipeline,
    progress: Progress,
    count: int,
    left_out: dict[str, str],
) -> None:
    """Builds the stages of the runs that are not there; they are read from disk afterwards.

    left_out: by title, why a run is not built; those that fail are added.
    """
    missing = [
        (study.title(run), seed)
        for seed, run in study.with_seeds()
        if study.title(run) not in left_out
        and not all(stage.folder.exists() for stage in stages_of(study, run, pipeline))
    ]
    if not missing:
        return
    there = set((pipeline.root / "stages").glob("*"))
    work = partial(_build, file, options)
    log = options.output / study.name / "workers.log"
    for (title, _), (stages, failure) in options.engine.answered(work, missing, count, log):
        if failure:
            left_out.setdefault(title, failure)
        for done in stages:
            # One that another worker built meanwhile: that one says how long it took.
            if done.seconds is not None or done.folder in there:
                progress.add(done)


def _build(file: Path, options: Options, task: tuple[str, int]) -> tuple[Sequence[Done], str]:
    """A worker's: the stages that one run (its title, and a seed) needed, and why its training
    failed."""
    study, pipeline = _loaded(file, options)
    stages: list[Done] = []
    pipeline.on_stage = stages.append
    title, seed = task
    run = study.with_seed(next(run for run in study.rows if study.title(run) == title), seed)
    try:
        _build_run(study, run, pipeline)
        if run.noise != RewardNoise():
            pipeline.at(run.setup).rewards.measure_noise(run.noise, study.eval_split)
    except TrainingFailed as reason:
        return stages, f"seed {seed}: {reason}"
    return stages, ""


@cache
def _loaded(file: Path, options: Options) -> tuple[Study, Pipeline]:
    """Once per process. An experiment file may define algorithms, which cannot be sent to it."""
    study = options.study(file)
    return study, Pipeline(study.runs[0].setup, options.output, options.device)
