"""Where the cache is, and writes that either happen completely or not at all."""

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys_posttrain.errors import UserError


def cache_folder() -> Path:
    """The folder for downloads and prepared data: RECSYS_POSTTRAIN_CACHE or ~/.cache."""
    chosen = os.environ.get("RECSYS_POSTTRAIN_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "recsys-posttrain"


_heard: list[list[str]] = []  # where `heard` keeps them; the innermost last


def note(text: str) -> None:
    """One line on stderr, so that stdout stays the result."""
    print(text, file=sys.stderr, flush=True)
    for said in _heard[-1:]:
        said.append(text)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Yields the list of the notes until the block ends."""
    _heard.append([])
    try:
        yield _heard[-1]
    finally:
        _heard.pop()


def write_file(path: Path, content: bytes) -> None:
    """Write under a temporary name in the same folder, then rename.

    Raises:
        UserError: the folder cannot be written (full disk, no permission).
    """
    with _explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_beside(path)
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends without an exception.

    When another process finished first, its folder stays.

    Raises:
        UserError: the folder cannot be written (full disk, no permission).
    """
    with _explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_beside(path)
        temporary.mkdir()
        try:
            yield temporary
            try:
                os.rename(temporary, path)
            except OSError:
                if not path.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _temporary_beside(path: Path) -> Path:
    return path.parent / f".partial-{uuid.uuid4().hex}"


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"Cannot write to the folder {folder}: {error.strerror or error}; "
            "make room there or set RECSYS_POSTTRAIN_CACHE to another folder."
        ) from error
