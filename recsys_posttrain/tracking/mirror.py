"""Mirrors a study's folder to Weights & Biases, while it runs and after: files are the source.

One run per trial of trials.csv and per method and seed of rows.parquet, with its curves (per method
of table.csv where the rows are not there), and one for the study: its table, its figures, and what
each method is worth against the level of the noise and the achieved quality of the reward model. A
folder of `make live-bench` is one run.
Every run is first written offline, below WANDB_DIR or the study's folder (offline_runs.py), under
an id that digests its settings and not its results: a run that is unchanged is not written again, a
changed one replaces the former, so that this can be called after every row, after an interruption,
or later by `recsys-posttrain wandb-sync`. Only means leave the machine: rows name users of the
data.
"""

import os
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from recsys_posttrain.config import digest, require
from recsys_posttrain.files import read_json
from recsys_posttrain.report import charts, forest
from recsys_posttrain.report.noise_quality import axis_of, noise_kinds, of_kind
from recsys_posttrain.report.page import alone
from recsys_posttrain.report.study_folder import (
    StudyFolder,
    by_line,
    has_results,
    means_by_seed,
    noise_of,
    runs_of,
    study_folder,
    trials_of,
    value_columns,
)
from recsys_posttrain.report.svg import Panel, draw
from recsys_posttrain.store import locked
from recsys_posttrain.tracking import curves, offline_runs
from recsys_posttrain.tracking.upload import is_logged_in, upload

PROJECT = "recsys-posttrain"
LIVE = "faults.csv"  # what make live-bench leaves
CLEAN = "clean"  # in names, of no noise
LEVEL, QUALITY = "noise/level", "reward_model/quality"
AXES = {LEVEL: "by_level", QUALITY: "by_quality"}  # what is logged against which axis


class Entry(NamedTuple):
    """One W&B run. stage: its job type. values: its summary, logged once. failed: its state.
    Two are the same run if `name`, `stage` and `about` are the same; None: `config`. curve: logged
    before the values, step by step."""

    name: str
    stage: str
    config: dict[str, Any]
    values: dict[str, Any]
    failed: bool = False
    about: Any = None
    curve: Sequence[Mapping[str, float]] = ()


def track(folder: Path) -> str:
    """Mirrors what is new in a study's folder, and uploads it where the user is logged in.

    Returns one line that says where it is and, if it is not uploaded, how to do that. Never asks,
    never raises for W&B's sake, and returns after `upload.SECONDS` at the latest.
    WANDB_MODE=disabled turns it off; WANDB_MODE=offline keeps it local.
    """
    if os.environ.get("WANDB_MODE") == "disabled":
        return "W&B: disabled (WANDB_MODE)"
    again = f"recsys-posttrain wandb-sync {shlex.quote(str(folder))}"
    later = f"to upload: wandb login, then {again}"
    try:
        count, identifiers = mirror(folder)
        if not is_logged_in():
            return f"W&B: {count} new runs, offline in {wandb_folder(folder)}; {later}"
        with locked(wandb_folder(folder) / offline_runs.LOCK):
            waiting = offline_runs.to_upload(wandb_folder(folder), identifiers)
            return f"W&B: {count} new runs; {upload(waiting, wandb_folder(folder), folder)}"
    except Exception as error:  # whatever W&B does, the study's results stand
        first = str(error).strip().partition("\n")[0]
        return f"warning: W&B: {type(error).__name__}: {first}; results are intact; {later}"


def sync(folder: Path) -> str:
    """`track`, asked for by the user. Raises: UserError for no study, or with W&B turned off."""
    if not (folder / LIVE).is_file() and not curves.planned(folder):
        study_folder(folder)
    require(
        os.environ.get("WANDB_MODE") != "disabled",
        "WANDB_MODE=disabled turns W&B off; unset it to mirror a study.",
    )
    return track(folder)


def wandb_folder(study: Path) -> Path:
    """Where the study's offline runs are."""
    return Path(os.environ.get("WANDB_DIR") or study) / "wandb"


def mirror(folder: Path) -> tuple[int, set[str]]:
    """Writes what is not there yet as offline runs; returns their number, and the identities of all
    that the study has. Of one that still runs, or was killed, the trials and curves so far."""
    trials = trials_of(folder)
    new = [] if trials is None else list(trial_entries(trials))
    study = study_folder(folder) if has_results(folder) else None
    if study is not None:
        new += [*row_entries(study), summary_entry(study)]
    else:
        new += running_entries(folder)
    if (folder / LIVE).is_file():
        new.append(live_entry(folder))
    group, there, written = folder.resolve().name, wandb_folder(folder), 0
    entries = {identity(group, entry): entry for entry in new}
    offline_runs.make_writable(there)
    with locked(there / offline_runs.LOCK):
        for identifier, entry in entries.items():
            content = digest([group, *entry])
            if offline_runs.to_write(there, identifier, content):
                _write(entry, identifier, group, there.parent, study)
                offline_runs.complete(there, identifier, content, folder)
                written += 1
        if study is not None:
            offline_runs.remove_others(there, folder, entries.keys())
    return written, set(entries)


def identity(group: str, entry: Entry) -> str:
    about = entry.config if entry.about is None else entry.about
    return digest([group, entry.stage, entry.name, about], 12)


def trial_entries(trials: pd.DataFrame) -> Iterator[Entry]:
    """One per trial: its parameters, and how it went."""
    for trial in trials.to_dict("records"):
        tried = {
            str(name).removeprefix("param."): value
            for name, value in trial.items()
            if str(name).startswith("param.")
        }
        config = {"algorithm": trial["algorithm"], "noise": trial["noise"], "param": _finite(tried)}
        values = {name: trial[name] for name in ("state", "reason", "value", "seconds")}
        name = f"{trial['algorithm']}/{trial['noise'] or CLEAN}/trial {trial['trial']}"
        yield Entry(name, "trial", config, _finite(values), trial["state"] == "failed")


def row_entries(study: StudyFolder) -> Iterator[Entry]:
    """One per method and seed: its Run, and its results."""
    runs = {label: (run, noise) for label, run, noise in runs_of(study.record)}
    quality, stages = axis_of(study.cells), study.record.get("stages", {})
    for values in means_by_seed(study).to_dict("records"):
        named: dict[Any, Any] = {
            name: values.pop(name) for name in ("method", "seed") if name in values
        }
        run, noise = runs.get(named["method"], ({}, {}))
        shown = f"{noise['kind']}-{noise['level']:g}" if noise.get("kind") else CLEAN
        axes = {LEVEL: noise.get("level", 0.0), QUALITY: noise.get(quality)}
        name = "/".join([named["method"], shown, *map(str, [*named.values()][1:])])
        ends = intervals(study, named["method"])
        entry = Entry(name, "posttrain", {**run, **named}, _finite(axes | values | ends))
        stage = stages.get("/".join(map(str, named.values())), {}).get("folder")
        if stage is not None:
            entry = entry._replace(about=stage, curve=curves.curve(study.path, stage))
        yield entry


def intervals(study: StudyFolder, method: str) -> dict[str, float]:
    """The ends of the table's intervals, over all seeds."""
    cells = study.cells[study.cells["method"] == method].to_dict("records")
    return {f"{cell['column']}/{end}": cell[end] for cell in cells for end in ("low", "high")}


def running_entries(folder: Path) -> Iterator[Entry]:
    """One per method and seed whose training has begun; the same run as `row_entries` has later."""
    for run in curves.planned(folder):
        if curve := curves.curve(folder, run["stage"]):
            _, kind, level = noise_of(run["config"].get("noise") or {})
            shown = f"{kind}-{level:g}" if kind else CLEAN
            name = f"{run['name']}/{shown}/{run['seed']}"
            config = {**run["config"], "method": run["name"], "seed": run["seed"]}
            yield Entry(name, "posttrain", config, {}, about=run["stage"], curve=curve)


def summary_entry(study: StudyFolder) -> Entry:
    """The study itself: what it ran, on which data; its commit and its results may change."""
    record = {key: value for key, value in study.record.items() if key not in ("runs", "stages")}
    finished = 0 if study.trials is None else int((study.trials["state"] == "complete").sum())
    is_shown = (study.cells["column"] == value_columns(study)[0]) & (study.cells["place"] == "")
    best = study.cells[is_shown]
    values = dict(zip("mean/" + best["method"], best["mean"], strict=True))
    values |= {"trials": 0 if study.trials is None else len(study.trials), "complete": finished}
    about = [study.record.get("content_hash"), study.record.get("split"), study.record.get("runs")]
    return Entry(study.name, "study", record, _finite(values), about=about)


def live_entry(folder: Path) -> Entry:
    """The bench of live delivery: its machine, and its rows as <fault>/<figure>."""
    record = read_json(folder / "run.json")
    rows = record.pop("rows")
    values = {
        f"{row['fault']}/{name}": value
        for row in rows
        for name, value in row.items()
        if not isinstance(value, str)
    }
    return Entry(folder.resolve().name, "live", record, _finite(values), about="live")


def _write(
    entry: Entry, identifier: str, group: str, folder: Path, study: StudyFolder | None
) -> None:
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=group,
            job_type=entry.stage,
            name=entry.name,
            id=identifier,
            config=entry.config,
            dir=str(folder),
            mode="offline",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True, console="off", x_disable_stats=True, x_disable_meta=True,
                disable_git=True, save_code=False, disable_job_creation=True,
                x_save_requirements=False,
            ),
        )  # fmt: skip
        for axis, prefix in AXES.items():  # what a metric of a method is drawn against
            run.define_metric(axis)
            run.define_metric(f"{prefix}/*", step_metric=axis)
        if entry.curve:
            run.define_metric(f"{curves.PREFIX}*", step_metric=curves.STEP)
        for point in entry.curve:
            run.log(dict(point))
        if study is not None and entry.stage == "study":
            _log_study(run, study)
        if entry.values:
            run.log(entry.values)
        run.finish(exit_code=int(entry.failed))


def _log_study(run: Any, study: StudyFolder) -> None:
    """One point per noise and level, then the final rows as a table, and the figures."""
    import wandb

    for point in noise_points(study, value_columns(study)[0]):
        run.log(point)
    run.log({"rows": wandb.Table(dataframe=means_by_seed(study)), **figures(study)})


def figures(study: StudyFolder) -> dict[str, Any]:
    """All figures of the page as pages of their own, by "group/title"."""
    import wandb

    points, trials = study.frame("curves.parquet"), study.trials
    groups: dict[str, list[Panel]] = {
        "noise_against_quality": charts.noise_against_quality(study, value_columns(study)[0]),
        "over_optimisation": [] if points is None else charts.over_optimisation(points),
        "tuning": [] if trials is None else charts.tuning(trials),
    }
    drawn = {f"differences/{each.title}": forest.drawn(each) for each in forest.forests(study)}
    drawn |= {
        f"{group}/{each.title}": draw(each) for group, all_ in groups.items() for each in all_
    }
    return {name: wandb.Html(alone(body), inject=False) for name, body in drawn.items()}


def noise_points(study: StudyFolder, column: str) -> Iterator[dict[str, float]]:
    """For each noise and level both axes and what every method is worth there."""
    table = by_line(study, column)
    for place, kind in noise_kinds(table):
        rows = of_kind(table, place, kind)
        quality = axis_of(rows)
        for level, at in rows.groupby("level"):
            named = {
                f"{prefix}/{place} {kind}/{cell['method']}": cell["mean"]
                for cell in at.to_dict("records")
                for prefix in AXES.values()
            }
            axes = {LEVEL: level, QUALITY: at[quality].iloc[0]}
            yield _finite(axes | named)


def _finite(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """Without what is missing: W&B has no empty value."""
    return {key: value for key, value in values.items() if value is not None and value == value}
