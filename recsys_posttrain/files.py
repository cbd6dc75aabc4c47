"""Files that are there whole or not at all, and readers that say what is wrong with one."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_WRITE_AGAIN = "restore it, or delete it and run the command again that wrote it"
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# Two containers on one folder may share a process number, so the name holds host and chance too.
_TEMPORARY = re.compile(r"\.tmp-(?P<host>.*)-(?P<pid>\d+)-[0-9a-f]{8}(\..*)?")


@contextmanager
def disk_is_explained(root: Path, option: str = "--output") -> Iterator[None]:
    """UserError for a disk that is full or a folder that may not be written.

    option: what names the folder on the command line or in the environment.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        number = getattr(error, "errno", None)
        if number in _FORBIDDEN:
            raise UserError(f"{error}: give a folder that you may write with {option}") from error
        free = shutil.disk_usage(_existing(root)).free / 2**20
        # Libraries written in other languages report a full disk in words, or not at all.
        in_words = os.strerror(errno.ENOSPC) in str(error) or free < 1
        if number not in (errno.ENOSPC, errno.EDQUOT) and not in_words:
            raise
        raise UserError(
            f"the disk is full: {free:.0f} MiB are free in {root}; free some space and run the "
            f"same command again (what is finished is kept), or choose another folder with {option}"
        ) from error


def check_writable(folder: Path, option: str = "--output") -> None:
    """Whether files can be written into a folder that may not exist yet; nothing is left behind.

    option: as of `disk_is_explained`. Errors: UserError where they cannot.
    """
    there = _existing(folder)
    if not there.is_dir():
        raise UserError(f"{option} {folder}: {there} is a file; give a folder")
    probe = temporary_in(there)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"{option} {folder}: {there} cannot be written ({error.strerror}); give a folder that "
            "you may write"
        ) from error


def check_output(path: Path, option: str, suffixes: tuple[str, ...]) -> None:
    """Whether a file of such a name can be written; as `check_writable`."""
    if path.suffix not in suffixes:
        raise UserError(f"{option} {path}: the name must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise UserError(f"{option} {path} is a folder: give the name of a file")
    check_writable(path.parent, option)


def _existing(path: Path) -> Path:
    """The path or the nearest one above it that exists."""
    path = path.absolute()
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def temporary_in(folder: Path, suffix: str = "") -> Path:
    host = socket.gethostname()[:64].replace("/", "")
    return folder / f".tmp-{host}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"


def remove_temporaries(folder: Path, *, is_locked: bool = False) -> None:
    """Removes what dead processes left in the folder while they wrote.

    is_locked: only this process writes there, so that every other writer is dead; otherwise those
    of this machine that do not run any more are.
    """
    for path in folder.glob(".tmp-*"):
        found = _TEMPORARY.fullmatch(path.name)
        if found and (is_locked or (found["host"] == socket.gethostname() and _is_dead(found))):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _is_dead(found: re.Match[str]) -> bool:
    try:
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    return False


@contextmanager
def replacing(path: Path, option: str = "--output") -> Iterator[Path]:
    """A temporary path (same suffix) that takes the name `path` if the block ends well.

    The file gets the mode that the process gives to new files, whatever wrote it.
    Errors: UserError where it cannot be written, because the disk is full say.
    """
    temporary = temporary_in(path.parent, path.suffix)
    with disk_is_explained(path.parent, option):
        try:
            temporary.touch(exist_ok=False)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(f"{path} cannot be written: {path.parent} is not a folder") from error
        mode = temporary.stat().st_mode & 0o777
        try:
            yield temporary
            temporary.chmod(mode)
            sync(temporary)
            if path.is_dir():
                raise UserError(f"{path} is a folder: give the name of a file, or move it away")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, option: str) -> Iterator[Path]:
    """A temporary folder that becomes `path` if the block ends well; its parents are built.

    When another process finished first, its folder stays. Errors: UserError where the folder
    cannot be written.
    """
    check_writable(path.parent, option)
    with disk_is_explained(path.parent, option):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_temporaries(path.parent)
        temporary = temporary_in(path.parent)
        temporary.mkdir()
        try:
            yield temporary
            try:
                settle(temporary, path)
            except OSError:
                if not path.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def settle(finished: Path, path: Path) -> None:
    """Gives a folder its final name, and sees that onto the disk."""
    os.replace(finished, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Sees a file or a folder onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Writes text, its line ends as they are, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: object) -> None:
    """Writes JSON (indented, keys in the order given), whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_parquet(frame: "pd.DataFrame", path: Path) -> None:
    """Whole or not at all; with checksums, so that `read_parquet` finds a flipped bit."""
    with replacing(path) as temporary:
        frame.to_parquet(temporary, write_page_checksum=True)


@contextmanager
def reading(path: Path, kind: str, fix: str) -> Iterator[None]:
    """UserError for whatever a reader of this kind of file answers to one that it cannot read."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {fix}") from None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {fix}") from None
    except PermissionError as error:
        raise UserError(
            f"{path} is there and may not be read ({error.strerror}): ask its owner to make it "
            "readable (chmod a+r)"
        ) from None
    # Readers answer damage with almost any kind of error.
    except Exception as error:
        first = f"{error}".strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"{path} is cut short or not {kind} ({first}): {fix}") from None


def read_text(path: Path, fix: str = _WRITE_AGAIN) -> str:
    """Errors: UserError when the file is missing, may not be read or is no text."""
    with reading(path, "text", fix):
        return path.read_text(encoding="utf-8")


def read_json(path: Path, fix: str = _WRITE_AGAIN) -> Any:
    """The value in a JSON file. Errors: UserError when it is missing or not whole."""
    with reading(path, "JSON", fix):
        return json.loads(path.read_text(encoding="utf-8"))


def read_record(path: Path, keys: Collection[str], fix: str = _WRITE_AGAIN) -> dict[str, Any]:
    """The object in a JSON file, which has these keys. Errors: UserError otherwise."""
    value = read_json(path, fix)
    if not isinstance(value, dict):
        raise UserError(f"{path} holds {type(value).__name__}, not an object: {fix}")
    for key in keys:
        if key not in value:
            raise UserError(f"{path} has no {key!r}: {fix}")
    return value


Columns = Mapping[str, type]  # by name: str, bool, float for any number, object for anything


def read_parquet(
    path: Path, columns: Columns = MappingProxyType({}), fix: str = _WRITE_AGAIN
) -> "pd.DataFrame":
    """columns: that it has to have. Errors: UserError when it is missing or damaged."""
    import pandas as pd

    # As a file object: pandas reads a folder of that name as one data set.
    with reading(path, "parquet", fix), path.open("rb") as file:
        frame = pd.read_parquet(file, page_checksum_verification=True)
    _check_columns(frame, path, columns, fix)
    return frame


def read_csv(
    path: Path,
    columns: Columns = MappingProxyType({}),
    texts: Collection[str] = (),
    fix: str = _WRITE_AGAIN,
) -> "pd.DataFrame":
    """columns: that it has to have. texts: columns where what is empty stays empty text.

    Errors: UserError when the file is missing or damaged.
    """
    import pandas as pd

    with reading(path, "CSV", fix), path.open("rb") as file:
        frame = pd.read_csv(file, dtype=dict.fromkeys(texts, "str"), encoding="utf-8")
        frame = frame.fillna({name: "" for name in texts if name in frame})
    _check_columns(frame, path, columns, fix)
    return frame


def _check_columns(frame: "pd.DataFrame", path: Path, columns: Columns, fix: str) -> None:
    from pandas.api import types

    fits: dict[type, Callable[[Any], bool]] = {
        float: types.is_numeric_dtype,
        bool: types.is_bool_dtype,
        str: lambda values: values.map(type).eq(str).all(),
        object: lambda _: True,
    }
    words = {float: "numbers", bool: "true or false", str: "text"}
    for name, kind in columns.items():
        if name not in frame:
            raise UserError(f"{path} has no column {name!r}: {fix}")
        if len(frame) and not fits[kind](frame[name]):
            raise UserError(f"{path}: the column {name!r} should hold {words[kind]}: {fix}")
    if columns and frame.empty:
        raise UserError(f"{path} has no rows: {fix}")
