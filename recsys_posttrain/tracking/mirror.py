"""Mirrors a study's folder to Weights & Biases, while it runs and after: files are the source.

One run per trial of trials.csv, per policy that a grid chooses among, and per method and seed of
rows.parquet, each with its curves (per method of table.csv where the rows are not there), and one
for the study: its table, its figures, and what each method is worth against the level of the noise
and the achieved quality of the reward model. A folder of `make live-bench` is one run.
Every run is first written offline, below WANDB_DIR or the study's folder (offline_runs.py), under
an id that digests its settings and not its results: a run that is unchanged is not written again, a
changed one replaces the former, so that this can be called after every row, after an interruption,
or later by `recsys-posttrain wandb-sync`. W&B takes a tenth of a second to write a run, so a look
at a study that runs writes what is in training and what has ended since the last look, and only for
so long. Only means leave the machine: rows name users of the data.
"""

import math
import os
import shlex
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from recsys_posttrain.config import digest, require
from recsys_posttrain.report import charts, forest
from recsys_posttrain.report.noise_quality import axis_of, noise_kinds, of_kind
from recsys_posttrain.report.page import alone
from recsys_posttrain.report.study_folder import (
    StudyFolder,
    by_line,
    has_results,
    means_by_seed,
    study_folder,
    trials_of,
    value_columns,
)
from recsys_posttrain.report.svg import Panel, draw
from recsys_posttrain.store import locked
from recsys_posttrain.tracking import curves, offline_runs
from recsys_posttrain.tracking.entries import (
    AXES,
    LEVEL,
    LIVE,
    QUALITY,
    Entry,
    finite,
    identity,
    live_entry,
    planned_entries,
    row_entries,
    summary_entry,
    trial_entries,
)
from recsys_posttrain.tracking.upload import is_logged_in, upload

PROJECT = "recsys-posttrain"
SECONDS = 20.0  # of writing in one look; what is left over is for the next, or for wandb-sync


class Mirrored(NamedTuple):
    """written, left: how many runs were and are still to be written. identifiers: of all that the
    study has."""

    written: int
    left: int
    identifiers: set[str]


def track(folder: Path, seconds: float = SECONDS) -> str:
    """Mirrors what is new in a study's folder, and uploads it where the user is logged in.

    Returns one line that says where it is and, if it is not uploaded, how to do that. Never asks,
    never raises for W&B's sake, writes for so many seconds and uploads for `upload.SECONDS`.
    WANDB_MODE=disabled turns it off; WANDB_MODE=offline keeps it local.
    """
    if os.environ.get("WANDB_MODE") == "disabled":
        return "W&B: disabled (WANDB_MODE)"
    again = f"recsys-posttrain wandb-sync {shlex.quote(str(folder))}"
    later = f"to upload: wandb login, then {again}"
    try:
        count, left, identifiers = mirror(folder, seconds)
        said = f"W&B: {count} new runs"
        said += f", {left} more are written by {again}" if left else ""
        if not is_logged_in():
            return f"{said}, offline in {wandb_folder(folder)}; {later}"
        with locked(wandb_folder(folder) / offline_runs.LOCK):
            waiting = offline_runs.to_upload(wandb_folder(folder), identifiers)
            return f"{said}; {upload(waiting, wandb_folder(folder), folder)}"
    except Exception as error:  # whatever W&B does, the study's results stand
        first = str(error).strip().partition("\n")[0]
        return f"warning: W&B: {type(error).__name__}: {first}; results are intact; {later}"


def sync(folder: Path) -> str:
    """`track`, asked for by the user. Raises: UserError for no study, or with W&B turned off."""
    is_there = (folder / LIVE).is_file() or trials_of(folder) is not None
    if not is_there and not curves.planned(folder):
        study_folder(folder)
    require(
        os.environ.get("WANDB_MODE") != "disabled",
        "WANDB_MODE=disabled turns W&B off; unset it to mirror a study.",
    )
    return track(folder, math.inf)


def wandb_folder(study: Path) -> Path:
    """Where the study's offline runs are."""
    return Path(os.environ.get("WANDB_DIR") or study) / "wandb"


def mirror(folder: Path, seconds: float = math.inf) -> Mirrored:
    """Writes what is not there yet as offline runs, for so many seconds. Of a study that still
    runs, or was killed, the trials and curves so far."""
    began = time.monotonic()
    study = study_folder(folder) if has_results(folder) else None
    group, there = folder.resolve().name, wandb_folder(folder)
    entries = {identity(group, entry): entry for entry in _entries(folder, study)}
    states = {
        identifier: curves.state(folder, entry.stages) for identifier, entry in entries.items()
    }
    written = left = 0
    offline_runs.make_writable(there)
    with locked(there / offline_runs.LOCK):
        found = offline_runs.by_identity(there)
        # What is in training first: the others stay as they are, and can wait.
        for identifier in sorted(entries, key=lambda each: curves.has_ended(states[each])):
            entry = entries[identifier]
            content = digest([group, *entry, *states[identifier]])
            if offline_runs.is_there(found.get(identifier, []), content):
                continue
            if time.monotonic() - began > seconds:
                left += 1
                continue
            offline_runs.remove(found.get(identifier, []))
            _write(entry, identifier, group, folder, study)
            offline_runs.complete(there, identifier, content, folder)
            written += 1
        if study is not None:
            offline_runs.remove_others(there, folder, entries.keys())
    return Mirrored(written, left, set(entries))


def _entries(folder: Path, study: StudyFolder | None) -> Iterator[Entry]:
    """study: where it has ended."""
    if study is not None:
        yield from row_entries(study)
        yield summary_entry(study)
    if study is None or study.is_grid:  # a grid's rows are those that it chose, by method
        yield from planned_entries(folder)
    if (trials := trials_of(folder)) is not None:
        yield from trial_entries(trials)
    if (folder / LIVE).is_file():
        yield live_entry(folder)


def _write(
    entry: Entry, identifier: str, group: str, folder: Path, study: StudyFolder | None
) -> None:
    import wandb

    place = wandb_folder(folder).parent
    place.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=group,
            job_type=entry.stage,
            name=entry.name,
            id=identifier,
            config=entry.config,
            dir=str(place),
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
        points = curves.curve(folder, entry.stages)
        if points:
            run.define_metric(f"{curves.PREFIX}*", step_metric=curves.STEP)
        for point in points:
            run.log(point)
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
            yield finite(axes | named)
