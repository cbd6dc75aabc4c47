"""A study's folder: it holds the results of one definition, which are replaced as a set.

A definition says what the results are of: the experiment file, the dataset, and what was changed on
the command line. It is written into the folder before any work, and another one is refused.
"""

import dataclasses
import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recsys_posttrain.config import describe
from recsys_posttrain.data.notes import note
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import (
    check_writable,
    disk_is_explained,
    read_record,
    remove_temporaries,
    sync,
    temporary_in,
    write_json,
)

DEFINITION = "definition.json"
RECORD = "run.json"  # in a folder of results the last to come and the first to go
CONTENT, DATA = "SHA-256 of the file", "SHA-256 of the data"

# All that `run`, `sweep`, `table` and `report` write, so that nothing of earlier results stays.
RESULTS = (
    RECORD,
    "rows.parquet",
    "reward_models.*",
    "judge.*",
    "table.*",
    "pairs.*",
    "cutoffs.*",
    "equal_kl.*",
    "variance.csv",
    "trials.csv",
    "trials-so-far.csv",
    "validation.csv",
    "validation.parquet",
    "selection.*",
    "frontier.*",
    "quality.png",
    "curves.parquet",
    "over_optimisation.*",
    "agreement-*.md",
    "report.html",
    "figures",
)


def definition(file: Path, dataset: Dataset, **chosen: str) -> dict[str, str]:
    """chosen: what else tells two results of one file and dataset apart."""
    try:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror})") from error
    return {
        "file": _place(file),
        CONTENT: content,
        "dataset": _identity(dataset),
        # Of a file, which may be moved; what a named dataset holds is no part of its definition.
        DATA: dataset.content_hash() if hasattr(dataset, "path") else "",
        **chosen,
    }


def _place(file: Path) -> str:
    """One of this checkout is the same file wherever that lies."""
    path, checkout = file.resolve(), Path(__file__).resolve().parents[2]
    return (path.relative_to(checkout) if path.is_relative_to(checkout) else path).as_posix()


def _identity(dataset: Dataset) -> str:
    """A named dataset is its name and what is set in it; a file is where it lies, whatever it
    holds."""
    chosen: dict[str, Any] = {}
    for field in dataclasses.fields(dataset):  # type: ignore[arg-type]
        value = getattr(dataset, field.name)
        if field.compare and value != field.default:
            chosen[field.name] = describe(value)
    path = chosen.pop("path", None)
    name = dataset.name if path is None else str(Path(path).expanduser().resolve())
    settings = ", ".join(f"{field}={value}" for field, value in chosen.items())
    return f"{name} ({settings})" if settings else name


def claim(folder: Path, now: dict[str, str]) -> None:
    """Makes the folder that of this definition, before any work.

    Raises: UserError where it holds the results of another one, or cannot be written.
    """
    check_writable(folder)
    with disk_is_explained(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the folder {folder} cannot be created ({error.strerror})") from error
        with _folder_locked(folder):
            remove_temporaries(folder)
            before = definition_in(folder)
            if before is not None:
                _check(folder, before, now)
            if before != now:
                write_json(folder / DEFINITION, now)


def definition_in(folder: Path) -> dict[str, Any] | None:
    """The definition that the folder has; None where it is free."""
    fix = "move the folder away, or give another one with --output"
    if (folder / DEFINITION).exists():
        return read_record(folder / DEFINITION, ("file", CONTENT, "dataset"), fix)
    if (folder / RECORD).exists():
        raise UserError(
            f"{folder} holds results that do not say what they are of (no {DEFINITION}): {fix}"
        )
    return None


def differences(before: dict[str, Any], now: dict[str, str]) -> list[str]:
    """What tells two definitions apart, in words: part by part, there and here."""
    return [
        f"{part} {before.get(part) or 'none'} there and {now.get(part) or 'none'} here"
        for part in dict.fromkeys([*before, *now])
        if before.get(part) != now.get(part)
        and part not in (CONTENT, DATA)
        # A study file or data that was only moved is the same.
        and not (part == "file" and before[CONTENT] == now[CONTENT])
        and not (part == "dataset" and now[DATA] and before.get(DATA) == now[DATA])
    ]


def _check(folder: Path, before: dict[str, Any], now: dict[str, str]) -> None:
    differ = differences(before, now)
    if differ:
        raise UserError(
            f"{folder} holds the results of something else of the same name ({'; '.join(differ)}): "
            "give another folder with --output, or move that one away"
        )
    if before[CONTENT] != now[CONTENT]:
        note(f"{now['file']} was changed since its last run; the results in {folder} are replaced")


def say_what_is_replaced(folder: Path, content_hash: str) -> None:
    """One line where the folder's results are of other data under the same name."""
    if not (folder / RECORD).is_file():
        return
    before = read_record(folder / RECORD, (), f"delete the folder {folder}").get("content_hash")
    if before not in (None, content_hash):
        note(f"the data changed since the last run; the results in {folder} are replaced")


@contextmanager
def result_set(folder: Path, patterns: Collection[str] = RESULTS) -> Iterator[Path]:
    """A new folder for files that take the place of all earlier ones, if the block ends well.

    patterns: names of the earlier ones; a study with files of its own has more. Killed in between,
    the folder has no run.json, so that nobody takes a mixture for results.
    """
    with disk_is_explained(folder), _folder_locked(folder):
        remove_temporaries(folder)
        new = temporary_in(folder)
        new.mkdir()
        try:
            yield new
            (folder / RECORD).unlink(missing_ok=True)
            sync(folder)
            for pattern in patterns:
                for path in folder.glob(pattern):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            for path in sorted(new.iterdir(), key=lambda path: path.name == RECORD):
                os.replace(path, folder / path.name)
            sync(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)


@contextmanager
def _folder_locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
