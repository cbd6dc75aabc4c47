"""The stages of a study's runs, built in this process or in several (parallel.py)."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.data.table_file import Duplicates
from recsys_posttrain.errors import TrainingFailed
from recsys_posttrain.progress import Done, Progress, console
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.studies.keys import EvalSplit, Stage
from recsys_posttrain.studies.load import Study, load_study
from recsys_posttrain.studies.parallel import cores, finished
from recsys_posttrain.studies.pipeline import Pipeline, RunResult
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.select import validation_means

# What rows say of what is not post-trained (Run.row).
_UNTRAINED = {"method": "", "setup": "", "place": "", "kind": "", "level": 0.0, "strength": ""}
MOST_WORKERS = 8  # unless more are asked for: each takes memory


class Options(NamedTuple):
    """What the command line gave; None: what the file says. workers: processes of one thread each
    for the runs; 1: this one, with all its threads; None: one per core. eval_split: the targets
    of the table. Settings are chosen on "validation", so that "test" stays unseen. full_seeds: as
    in Study."""

    overrides: tuple[str, ...] = ()
    dataset: str | None = None
    seeds: int | None = None
    workers: int | None = None
    device: str = "cpu"
    data_root: str | None = None
    output: Path = Path("runs")
    eval_split: EvalSplit = "test"
    split: str | None = None
    thresholds: Thresholds = Thresholds()
    duplicates: Duplicates | None = None
    full_seeds: bool = False

    def study(self, file: Path) -> Study:
        return load_study(
            file,
            self.overrides,
            self.dataset,
            self.seeds,
            self.data_root,
            self.eval_split,
            self.split,
            self.thresholds,
            self.duplicates,
            self.full_seeds,
        )


class Results(NamedTuple):
    """What a study computed.

    rows: one per target, method and seed.
    trained: the stages of post-training, by title/seed.
    points: of the curves of over-optimisation, one frame per run.
    left_out: by `Study.title`, why a run has no row.
    noise: by title, what the noise of a run does.
    validation: of a grid, what strengths are chosen by: one row per run and seed (select.py).
    """

    rows: pd.DataFrame
    trained: dict[str, Path]
    points: list[pd.DataFrame]
    left_out: dict[str, str]
    noise: dict[str, dict[str, dict[str, float]]]
    validation: pd.DataFrame


def shared_rows(study: Study, pipeline: Pipeline) -> list[pd.DataFrame]:
    """Of what is not post-trained: popularity once for each seed of the models that judge it, and
    each pretrained policy. One row each where no seed changes them."""
    frames, judged = [], set()
    for name, seed, setup in study.setups():
        stages = pipeline.at(setup)
        trained = stages.pretrain()
        if seed not in judged:
            rows = stages.evaluate(None, study.eval_split)
            names = {**_UNTRAINED, "method": "Popularity"}
            frames.append(_named(study, rows, **names, seed=seed))
            judged.add(seed)
        rows = stages.evaluate(trained, study.eval_split)
        names = {**_UNTRAINED, "method": f"Pretrained{name}", "setup": setup.label}
        frames.append(_named(study, rows, **names, seed=seed))
    return frames


def build_runs(
    study: Study,
    pipeline: Pipeline,
    shared: list[pd.DataFrame] | None = None,
    left_out: dict[str, str] | None = None,
) -> Results:
    """Builds what is not there yet. shared: of `shared_rows`. left_out: by title, why a run is not
    run.

    Raises: UserError where the training of every run fails.
    """
    left_out = dict(left_out or {})
    rows = [("", frame) for frame in shared or shared_rows(study, pipeline)]
    trained: dict[str, Path] = {}
    points: list[pd.DataFrame] = []
    trials = []
    for seed, run in study.with_seeds():
        title = study.title(run)
        if title in left_out:
            continue
        try:
            built, trial = _build_run(study, run, pipeline)
        except TrainingFailed as failure:
            left_out[title] = f"seed {seed}: {failure}"
            continue
        trained[f"{title}/{seed}"] = built.trained
        rows.append((title, _named(study, built.rows, **run.row, seed=seed)))
        trials.append({"title": title, **run.row, "seed": seed, **trial})
        if built.points is not None:
            points.append(built.points.assign(method=title, seed=seed))
    if left_out:
        console.print(f"left out: {by_reason(left_out)}", markup=False, soft_wrap=True)
    runs = [run for run in study.runs if study.title(run) not in left_out]
    require(runs, f"{study.file}: no method could be trained: {by_reason(left_out)}")
    validation = pd.DataFrame(trials)
    return Results(
        pd.concat([each for title, each in rows if title not in left_out], ignore_index=True),
        {name: path for name, path in trained.items() if name.rpartition("/")[0] not in left_out},
        [each for each in points if each["method"].iloc[0] not in left_out],
        left_out,
        {
            study.title(run): _noise_report(study, run, pipeline)
            for run in runs
            if run.noise != RewardNoise()
        },
        validation[~validation["title"].isin(left_out)].drop(columns="title"),
    )


def _named(study: Study, rows: pd.DataFrame, **names: Any) -> pd.DataFrame:
    """The rows with what they are of. A grid has too many to keep their lists too."""
    kept = rows.drop(columns=["top10", "top50"], errors="ignore") if study.is_grid else rows
    return kept.assign(**names)


def _build_run(study: Study, run: Run, pipeline: Pipeline) -> tuple[RunResult, dict[str, float]]:
    """All that the study needs of a run, and by what its strength can be chosen."""
    stages = pipeline.at(run.setup)
    built, trial = stages.build_run(run, study.eval_split), {}
    if study.is_grid:
        rows = stages.evaluate(built.trained, "validation", run.noise)
        trial = validation_means(rows, pipeline.data.corpus.reward_scale)
    return built, trial


def _stages_of(study: Study, run: Run, pipeline: Pipeline) -> list[Stage]:
    stages = pipeline.at(run.setup)
    found = stages.stages_of(run, study.eval_split)
    if study.is_grid:
        found.append(stages.keys.rows(found[0].folder, "validation", run.noise))
        if run.noise != RewardNoise():
            found.append(stages.keys.noise_report(run.noise))
    return found


def _noise_report(study: Study, run: Run, pipeline: Pipeline) -> dict[str, dict[str, float]]:
    """Where seeds differ in the noise or in the reward model, means over them."""
    differ = study.redraws_noise or study.full_seeds
    runs = [study.with_seed(run, seed) for seed in study.seeds[: None if differ else 1]]
    reports = [pipeline.at(each.setup).rewards.measure_noise(each.noise) for each in runs]
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
    """By title, why the log's rewards cannot serve a run.

    Raises: UserError where they serve none.
    """
    reasons = {
        study.title(run): why for run in study.runs if (why := pipeline.at(run.setup).refusal(run))
    }
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
        and not all(stage.folder.exists() for stage in _stages_of(study, run, pipeline))
    ]
    if not missing:
        return
    there = set((pipeline.root / "stages").glob("*"))
    work = partial(_build, file, options)
    log = options.output / study.name / "workers.log"
    for (title, _), (stages, failure) in finished(work, missing, count, "post-training", log):
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
    pipeline.told = stages.append
    title, seed = task
    run = study.with_seed(next(run for run in study.runs if study.title(run) == title), seed)
    try:
        _build_run(study, run, pipeline)
        if run.noise != RewardNoise():
            pipeline.at(run.setup).rewards.measure_noise(run.noise)
    except TrainingFailed as reason:
        return stages, f"seed {seed}: {reason}"
    return stages, ""


@cache
def _loaded(file: Path, options: Options) -> tuple[Study, Pipeline]:
    """Once per process. An experiment file may define algorithms, which cannot be sent to it."""
    study = options.study(file)
    return study, Pipeline(study.runs[0].setup, options.output, options.device)
