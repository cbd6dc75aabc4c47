"""What a study or a sweep has finished, as it lies on disk."""

import json
from pathlib import Path

from recsys_posttrain.sweep.queue import SLOT, is_outcome
from recsys_posttrain.sweep.storage import open_storage, sqlite_url
from recsys_posttrain.sweep.there import DATABASE

COMPARED = ("table.md", "table.tex", "table.csv", "rows.parquet")


def stages(runs: Path) -> dict[str, int]:
    """When each was finished; a stage that is built again has another time."""
    return {path.parent.name: path.stat().st_mtime_ns for path in runs.glob("stages/*/stage.json")}


def unlisted(runs: Path) -> list[str]:
    """Files of finished stages that are none of theirs, and those that look like temporary ones."""
    found = []
    for stage in runs.glob("stages/*"):
        listed = set(json.loads((stage / "stage.json").read_text())["files"]) | {"stage.json"}
        for path in stage.rglob("*"):
            name = path.relative_to(stage).as_posix()
            if path.is_file() and (name not in listed or path.name.startswith(".")):
                found.append(f"{stage.name}/{name}")
    return found


def outcomes(folder: Path) -> dict[str, str]:
    """Of every slot of every queue of a sweep: its value and its setting. AssertionError for a slot
    that has two."""
    path = folder / DATABASE
    if not path.is_file():
        return {}
    storage = open_storage(sqlite_url(path))
    found: dict[str, str] = {}
    for study in storage.get_all_studies():
        for trial in storage.get_all_trials(study._study_id):
            if is_outcome(trial):
                key = f"{study.study_name} {trial.user_attrs[SLOT]}"
                assert key not in found, f"{key} has two outcomes"
                found[key] = f"{trial.value} {sorted(trial.params.items())}"
    storage.engine.dispose()
    return found


def tables(folder: Path) -> dict[str, bytes]:
    """Those there are."""
    return {name: (folder / name).read_bytes() for name in COMPARED if (folder / name).is_file()}
