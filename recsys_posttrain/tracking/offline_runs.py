"""Offline W&B runs on disk: which of them are whole, of which study, and still to be uploaded.

W&B makes a run's folder when it begins. One without our mark was interrupted, or is not ours; it is
never uploaded, and is written again when its study is mirrored.
"""

import shutil
from collections.abc import Iterable, Set
from pathlib import Path

from recsys_posttrain.errors import UserError
from recsys_posttrain.files import read_json, write_json

LOCK = ".recsys-posttrain.lock"  # held while runs are written or uploaded
_MARK = "recsys-posttrain.json"  # in a run's folder, once it is finished


def by_identity(runs: Path) -> dict[str, list[Path]]:
    """The folders that are there: one look at the disk, of a study with a thousand."""
    found: dict[str, list[Path]] = {}
    for run in sorted(runs.glob("offline-run-*")):
        found.setdefault(run.name.rpartition("-")[2], []).append(run)
    return found


def is_there(found: Iterable[Path], content: str) -> bool:
    """Whether one of a run's folders is whole and has this content."""
    return any(_mark(run).get("content") == content for run in found)


def remove(found: Iterable[Path]) -> None:
    """A run's folders of an interrupted attempt, or from before a change."""
    for run in found:
        shutil.rmtree(run)


def complete(runs: Path, identifier: str, content: str, study: Path) -> None:
    """Marks a run that is written. Raises: OSError where W&B has put it elsewhere."""
    there = sorted(runs.glob(f"offline-run-*-{identifier}"))
    if not there:
        raise OSError(f"W&B wrote a run elsewhere than to {runs}: give a folder with WANDB_DIR")
    mark = {"id": identifier, "content": content, "study": str(study.resolve())}
    write_json(there[0] / _MARK, mark)


def remove_others(runs: Path, study: Path, identifiers: Set[str]) -> None:
    """Runs of the study as it was before a change, as far as they are not uploaded."""
    for run in runs.glob("offline-run-*"):
        mark = _mark(run)
        was_of_it = mark.get("study") == str(study.resolve()) and mark["id"] not in identifiers
        if was_of_it and not _is_uploaded(run):
            shutil.rmtree(run)


def to_upload(runs: Path, identifiers: Set[str]) -> list[Path]:
    """Of these, those that are whole and not uploaded yet."""
    there = [run for run in sorted(runs.glob("offline-run-*")) if not _is_uploaded(run)]
    return [run for run in there if _mark(run).get("id") in identifiers]


def make_writable(runs: Path) -> None:
    """OSError in a sentence, instead of W&B's own answer, which is a folder elsewhere."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        (runs / LOCK).touch()
    except OSError as error:
        raise OSError(
            f"nothing can be written to {runs} ({error.strerror}); give a folder with WANDB_DIR"
        ) from None


def _mark(run: Path) -> dict[str, str]:
    try:
        return dict(read_json(run / _MARK))
    except UserError:
        return {}


def _is_uploaded(run: Path) -> bool:
    return bool(list(run.glob("*.wandb.synced")))
