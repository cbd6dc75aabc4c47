"""Content-addressed stage folders: what exists and is complete is never computed again.

A stage's folder is named by a digest of exactly what the stage depends on (its key). It is built
under a partial name that survives an interruption, and takes its final name in one rename, so a
folder under `stages/` is always complete, and every algorithm starts from the same bytes.

    root/stages/<name>-<digest>/           complete: stage.json and the stage's own files
    root/.partial-<name>-<digest>/         under way or interrupted; resumed by the next attempt
    root/.locks/<name>-<digest>            held while a process builds; the kernel frees it
"""

import fcntl
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from recsys_posttrain.config import describe, digest
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import (
    disk_is_explained,
    read_record,
    reading,
    remove_temporaries,
    settle,
    sha256_of,
    sync,
    write_json,
)
from recsys_posttrain.provenance import git_commit, package_versions

_log = logging.getLogger(__name__)
RECORD = "stage.json"
# Of the stages under way, each inside the one before it: seconds that inner ones took.
_inner: list[float] = []


class Built(NamedTuple):
    """A stage that is there. record: what `make` returned. seconds: what building took, without the
    stages that it built on the way; None: it was there already."""

    folder: Path
    record: dict[str, Any]
    seconds: float | None

    @property
    def reused(self) -> bool:
        return self.seconds is None


def stage_folder(root: Path, name: str, key: Mapping[str, Any]) -> Path:
    """Where the stage `name` with this key is kept, whether it exists yet or not."""
    return root / "stages" / f"{name}-{digest(key)}"


def partial_of(folder: Path) -> Path:
    """Where a stage is until it is complete."""
    return folder.parent.parent / f".partial-{folder.name}"


def build(
    folder: Path,
    key: Mapping[str, Any],
    make: Callable[[Path], dict[str, Any]],
    files: Collection[str] = (),
) -> Built:
    """The stage in `folder`: reused where that is complete, otherwise built by `make(partial)`.

    make receives a folder that is kept between attempts (an interrupted stage finds its own
    checkpoints there) and returns a record of JSON values. files: what it leaves, as names or
    patterns (step-*.safetensors); whatever else lies there is removed when it is done.
    Of two processes that need the same stage, the second waits and reuses. A complete folder is
    not to be changed: its files' digests are checked on reuse.

    Errors: UserError when the disk is full (the partial folder stays) or `folder` is damaged.
    """
    root, partial = folder.parent.parent, partial_of(folder)
    lock = locked(root / ".locks" / folder.name, "another process is building it; waiting")
    seconds = None
    with disk_is_explained(root), lock:
        if not folder.exists():
            was_interrupted = partial.exists()
            partial.mkdir(parents=True, exist_ok=True)
            remove_temporaries(partial, is_locked=True)
            record, seconds = _timed(make, partial)
            stage = {
                "key": describe(key),
                "record": record,
                "commit": git_commit(),
                "versions": package_versions(),
                # of the attempt that finished it; an interrupted one's time is not in it
                "seconds": round(seconds, 3),
                "was_interrupted": was_interrupted,
            }
            _finish(partial, stage, files)
            folder.parent.mkdir(parents=True, exist_ok=True)
            settle(partial, folder)
        stage = read_stage(folder)
    if stage["key"] != json.loads(json.dumps(describe(key))):
        raise UserError(f"{folder} belongs to another key: {delete(folder)}")
    return Built(folder, stage["record"], seconds)


def _timed(make: Callable[[Path], dict[str, Any]], partial: Path) -> tuple[dict[str, Any], float]:
    """What `make` returns, and its seconds without those of the stages that it builds."""
    started = time.monotonic()
    _inner.append(0.0)
    try:
        record = make(partial)
    finally:
        inner, took = _inner.pop(), time.monotonic() - started
        if _inner:
            _inner[-1] += took
    return record, took - inner


def read_stage(folder: Path) -> dict[str, Any]:
    """All of a complete stage's stage.json: key, record, commit, versions, seconds, files.

    Every file's SHA-256 is checked, once per process while the file stays as it is.
    Errors: UserError naming what is missing or damaged, and that the folder may be deleted.
    """
    keys = ("key", "record", "seconds", "files", "sha256")
    stage = read_record(folder / RECORD, keys, fix=delete(folder))
    own = stage.pop("sha256")
    is_whole = own == _digest_of(stage) and isinstance(stage["files"], dict)
    if not is_whole:
        raise UserError(f"{folder / RECORD} was changed after it was written: {delete(folder)}")
    for name, sha256 in stage["files"].items():
        _check(folder / name, sha256)
    return stage


# By file: what was seen of it when its digest was last right.
_checked: dict[Path, tuple[int, ...]] = {}


def _check(path: Path, sha256: str) -> None:
    with reading(path, "a file of a stage", delete(path.parent)):
        status = path.stat()
        seen = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if _checked.get(path) == seen:
            return
        found = sha256_of(path)
    if found != sha256:
        raise UserError(
            f"{path} is damaged: its SHA-256 is not the one it was finished with: "
            f"{delete(path.parent)}"
        )
    _checked[path] = seen


def _digest_of(stage: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(stage, sort_keys=True).encode()).hexdigest()


def _finish(partial: Path, stage: dict[str, Any], files: Collection[str]) -> None:
    """Flushes the declared files, removes all others, and writes stage.json with the digests."""
    there = sorted(partial.iterdir())
    kept = [path for path in there if any(fnmatchcase(path.name, each) for each in files)]
    for path in set(there).difference(kept):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    missing = [each for each in files if not any(fnmatchcase(path.name, each) for path in kept)]
    if any("*" not in each for each in missing):
        raise RuntimeError(f"{partial}: the stage did not write {missing}")
    for path in kept:
        sync(path)
    stage["files"] = {path.name: sha256_of(path) for path in kept}
    write_json(partial / RECORD, stage | {"sha256": _digest_of(stage)})
    sync(partial)


def delete(folder: Path) -> str:
    """The fix for a damaged stage."""
    return f"delete the folder {folder} and run the same command again"


@contextmanager
def locked(path: Path, while_waiting: str = "") -> Iterator[None]:
    """Holds an exclusive lock that a dead holder cannot keep.

    while_waiting: what to log when another process holds it; nothing if empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if while_waiting:
                _log.warning("%s: %s", path.name, while_waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
