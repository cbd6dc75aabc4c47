"""Content-addressed stage folders: what exists and is complete is never computed again.

A stage's folder is named by a digest of exactly what the stage depends on (its key). It is made
under a partial name that survives an interruption, and takes its final name in one rename, so a
folder under `stages/` is always complete, and every algorithm starts from the same bytes.

    root/stages/<name>-<digest>/           complete: stage.json and the stage's own files
    root/.partial-<name>-<digest>/         under way or interrupted; resumed by the next attempt
    root/.locks/<name>-<digest>            held while a process builds; the kernel frees it
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from recsys_posttrain.config import describe, digest
from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

_log = logging.getLogger(__name__)
_PACKAGES = (
    "torch",
    "pytorch-lightning",
    "numpy",
    "pandas",
    "datasets",
    "scikit-learn",
    "scipy",
    "safetensors",
)


def stage_folder(root: Path, name: str, key: Mapping[str, Any]) -> Path:
    """Where the stage `name` with this key is kept, whether it exists yet or not."""
    return root / "stages" / f"{name}-{digest(key)}"


def build(
    folder: Path, key: Mapping[str, Any], make: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    """The record of a stage: read where `folder` is complete, otherwise made by `make(partial)`.

    make receives a folder that is kept between attempts (an interrupted stage finds its own
    checkpoints there, and deletes them when it is done) and returns a record of JSON values.
    Of two processes that need the same stage, the second waits and reuses. A complete folder is
    not to be changed: its files' sizes are checked on reuse.

    Errors: UserError when the disk is full (the partial folder stays) or `folder` is damaged.
    """
    root, partial = folder.parent.parent, folder.parent.parent / f".partial-{folder.name}"
    lock = locked(root / ".locks" / folder.name, "another process is building it; waiting")
    with disk_is_explained(root), lock:
        if not folder.exists():
            was_interrupted = partial.exists()
            partial.mkdir(parents=True, exist_ok=True)
            started = time.monotonic()
            record = make(partial)
            stage = {
                "key": describe(key),
                "record": record,
                "commit": git_commit(),
                "versions": package_versions(),
                # of the attempt that finished it; an interrupted one's time is not in it
                "seconds": round(time.monotonic() - started, 3),
                "was_interrupted": was_interrupted,
            }
            _finish(partial, stage)
            folder.parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial, folder)
            _sync(folder.parent)
        stage = read_stage(folder)
    if stage["key"] != json.loads(json.dumps(describe(key))):
        raise UserError(f"{folder} was made from another key: {_delete(folder)}")
    made: dict[str, Any] = stage["record"]
    return made


def read_stage(folder: Path) -> dict[str, Any]:
    """All of a complete stage's stage.json: key, record, commit, versions, seconds, files.

    Errors: UserError naming what is missing or cut short, and that the folder may be deleted.
    """
    stage = read_json(folder / "stage.json", fix=_delete(folder))
    if not isinstance(stage, dict) or not {"key", "record", "files"} <= stage.keys():
        raise UserError(f"{folder / 'stage.json'} is not a stage's record: {_delete(folder)}")
    for name, size in stage["files"].items():
        path = folder / name
        found = f"{path.stat().st_size} bytes" if path.is_file() else "nothing"
        if found != f"{size} bytes":
            raise UserError(f"{path} should have {size} bytes, found {found}: {_delete(folder)}")
    return stage


def _finish(partial: Path, stage: dict[str, Any]) -> None:
    """Flushes every file, then writes stage.json with their sizes."""
    (partial / "stage.json").unlink(missing_ok=True)  # of an attempt killed before its rename
    paths = sorted(path for path in partial.rglob("*") if path.is_file())
    for path in paths:
        _sync(path)
    stage["files"] = {path.relative_to(partial).as_posix(): path.stat().st_size for path in paths}
    write_json(partial / "stage.json", stage)
    _sync(partial)


def _delete(folder: Path) -> str:
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


@contextmanager
def disk_is_explained(root: Path) -> Iterator[None]:
    """UserError for a disk that is full or a folder that may not be written."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        number = getattr(error, "errno", None)
        if number in (errno.EACCES, errno.EROFS):
            raise UserError(f"{error}: give a folder that you may write with --output") from error
        free = shutil.disk_usage(root).free / 2**20
        # Libraries written in other languages report a full disk in words, or not at all.
        in_words = os.strerror(errno.ENOSPC) in str(error) or free < 1
        if number not in (errno.ENOSPC, errno.EDQUOT) and not in_words:
            raise
        raise UserError(
            f"the disk is full: {free:.0f} MiB are free in {root}; free some space and run the "
            "same command again (what is finished is kept), or choose another folder with --output"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path (same suffix) that takes the name `path` if the block ends well."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: object) -> None:
    """Writes JSON (indented, keys in the order given), whole or not at all."""
    text = json.dumps(value, indent=2)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_parquet(frame: "pd.DataFrame", path: Path) -> None:
    with replacing(path) as temporary:
        frame.to_parquet(temporary)


def read_json(path: Path, fix: str = "restore it or make it again") -> Any:
    """The value in a JSON file. Errors: UserError when it is missing or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {fix}") from None
    except ValueError as error:
        raise UserError(f"{path} is cut short or not JSON ({error}): {fix}") from None


def save_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """Writes named tensors as safetensors, whole or not at all; same tensors, same bytes."""
    from safetensors.torch import save_file  # and torch, which live services do without

    # A copy of each, because safetensors refuses tensors that share memory (tied weights, views).
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(copies, temporary)


def load_tensors(
    path: Path, expected: Mapping[str, Sequence[int]] | None = None
) -> "dict[str, Tensor]":
    """Named tensors on the CPU; with `expected`, exactly those names and shapes.

    Errors: UserError for a file that is missing, damaged, or of another model.
    """
    from safetensors.torch import load_file

    if not path.is_file():
        raise UserError(f"{path} does not exist: it should hold a model's tensors (safetensors)")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise UserError(
            f"{path} is cut short or not a safetensors file ({error}): {_delete(path.parent)}"
        ) from None
    if expected is not None:
        for name in dict.fromkeys([*expected, *tensors]):
            found = str(tuple(tensors[name].shape)) if name in tensors else "missing"
            wanted = str(tuple(expected[name])) if name in expected else "none"
            if found != wanted:
                raise UserError(
                    f"{path}: tensor {name!r} is {found} in the file and {wanted} in the model: "
                    "is it a checkpoint of another model?"
                )
    return tensors


def code_digest(*modules: ModuleType) -> str:
    """A digest of the source of modules, and of every .py file of packages, for a stage's key."""
    sources = []
    for module in modules:
        file = Path(str(module.__file__))
        files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
        for path in files:
            name = path.relative_to(file.parent).as_posix()
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            sources.append([module.__name__, name, content])
    return digest(sorted(sources))


def git_commit(folder: Path | None = None) -> str:
    """Short commit of the checkout around `folder` (default: the working directory).

    "-dirty" is added when tracked files differ; "unknown" where git or a commit is missing.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError, ValueError):
        return "unknown"
    return answer.stdout.strip() if answer.returncode == 0 else "unknown"


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
