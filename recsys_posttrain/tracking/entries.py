"""What of a study becomes a run of Weights & Biases: its name, settings and values.

Nothing is written here, and no curve is read: an entry names the stages that have it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from recsys_posttrain.config import digest
from recsys_posttrain.files import read_json
from recsys_posttrain.report.noise_quality import axis_of
from recsys_posttrain.report.study_folder import (
    StudyFolder,
    means_by_seed,
    noise_of,
    runs_of,
    value_columns,
)
from recsys_posttrain.tracking import curves
from recsys_posttrain.tracking.curves import TRIAL

LIVE = "faults.csv"  # what make live-bench leaves
CLEAN = "clean"  # in names, of no noise
LEVEL, QUALITY = "noise/level", "reward_model/quality"
AXES = {LEVEL: "by_level", QUALITY: "by_quality"}  # what is logged against which axis


class Entry(NamedTuple):
    """One W&B run. stage: its job type. values: its summary, logged once. failed: its state.
    Two are the same run if `name`, `stage` and `about` are the same; None: `config`. stages: those
    of its training, whose curve is logged before the values, step by step."""

    name: str
    stage: str
    config: dict[str, Any]
    values: dict[str, Any]
    failed: bool = False
    about: Any = None
    stages: tuple[str, ...] = ()


def identity(group: str, entry: Entry) -> str:
    about = entry.config if entry.about is None else entry.about
    return digest([group, entry.stage, entry.name, about], 12)


def trial_entries(trials: pd.DataFrame) -> Iterator[Entry]:
    """One per trial: its parameters, how it went, and where it was trained."""
    for trial in trials.to_dict("records"):
        tried = {
            str(name).removeprefix("param."): _as_written(value)
            for name, value in trial.items()
            if str(name).startswith("param.")
        }
        config = {"algorithm": trial["algorithm"], "noise": trial["noise"], "param": finite(tried)}
        values = {
            **{name: trial[name] for name in ("state", "reason")},
            **{name: float(trial[name]) for name in ("value", "seconds")},
        }
        name = f"{trial['algorithm']}/{trial['noise'] or CLEAN}/trial {trial['trial']}"
        is_failed, stages = trial["state"] == "failed", tuple(trial["stage"].split())
        yield Entry(name, TRIAL, config, finite(values), is_failed, stages=stages)


def _as_written(value: Any) -> Any:
    """The same of a cell, whatever else its column holds: while a sweep runs it may hold numbers
    alone, and later words too. A run's identity is digested from it."""
    if isinstance(value, bool):
        return str(value)
    try:
        return float(value)
    except ValueError:
        return value


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
        entry = Entry(name, "posttrain", {**run, **named}, finite(axes | values | ends))
        stage = stages.get("/".join(map(str, named.values())), {}).get("folder")
        if stage is not None:
            entry = entry._replace(about=stage, stages=(stage,))
        yield entry


def intervals(study: StudyFolder, method: str) -> dict[str, float]:
    """The ends of the table's intervals, over all seeds."""
    cells = study.cells[study.cells["method"] == method].to_dict("records")
    return {f"{cell['column']}/{end}": cell[end] for cell in cells for end in ("low", "high")}


def planned_entries(folder: Path) -> Iterator[Entry]:
    """One per method and seed whose training has begun: in a table the same run as `row_entries`
    has later, in a grid one of those that it chooses among."""
    for run in curves.planned(folder):
        stages = (run["stage"],)
        if not curves.state(folder, stages):
            continue
        config = {**run["config"], "method": run["name"], "seed": run["seed"]}
        if run.get("kind") == TRIAL:  # its name has its noise
            name, values = f"{run['name']}/{run['seed']}", run.get("values", {})
            yield Entry(name, TRIAL, config, values, about=run["stage"], stages=stages)
        else:
            _, kind, level = noise_of(run["config"].get("noise") or {})
            shown = f"{kind}-{level:g}" if kind else CLEAN
            name = f"{run['name']}/{shown}/{run['seed']}"
            yield Entry(name, "posttrain", config, {}, about=run["stage"], stages=stages)


def summary_entry(study: StudyFolder) -> Entry:
    """The study itself: what it ran, on which data; its commit and its results may change."""
    record = {key: value for key, value in study.record.items() if key not in ("runs", "stages")}
    finished = 0 if study.trials is None else int((study.trials["state"] == "complete").sum())
    is_shown = (study.cells["column"] == value_columns(study)[0]) & (study.cells["place"] == "")
    best = study.cells[is_shown]
    values = dict(zip("mean/" + best["method"], best["mean"], strict=True))
    values |= {"trials": 0 if study.trials is None else len(study.trials), "complete": finished}
    about = [study.record.get("content_hash"), study.record.get("split"), study.record.get("runs")]
    return Entry(study.name, "study", record, finite(values), about=about)


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
    return Entry(folder.resolve().name, "live", record, finite(values), about="live")


def finite(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """Without what is missing: W&B has no empty value."""
    return {key: value for key, value in values.items() if value is not None and value == value}
