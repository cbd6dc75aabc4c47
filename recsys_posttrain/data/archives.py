"""Find one ratings file in what a user has: the file, a folder with it, or a zip."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from recsys_posttrain.errors import UserError

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class NotHere(Exception):
    """A source does not have the data; the text says why and the next source is tried."""


def read_root(root: Path, dataset: str, filenames: Sequence[str]) -> tuple[str, str, bytes]:
    """Read the first of `filenames` from a zip, a file, or a folder that holds either.

    Returns: the file's plain name, a description of the place, and the content.

    Raises:
        NotHere: none of the names is there.
        UserError: the zip is damaged or holds a path outside itself, or a file is unreadable.
    """
    root = root.expanduser()
    try:
        return _read_root(root, dataset, filenames)
    except OSError as error:
        raise UserError(f"Cannot read {root}: {error.strerror or error}.") from error


def _read_root(root: Path, dataset: str, filenames: Sequence[str]) -> tuple[str, str, bytes]:
    if root.is_file():
        if root.name in filenames:
            return root.name, str(root), root.read_bytes()
        return read_zip(root, filenames)
    if not root.is_dir():
        raise NotHere(f"{root} does not exist")
    for filename in filenames:
        for candidate in (root / filename, root / dataset / filename):
            if candidate.is_file():
                return filename, str(candidate), candidate.read_bytes()
    archives = (f"{dataset}.zip", f"{dataset}-files.zip")
    for archive in archives:
        if (root / archive).is_file():
            return read_zip(root / archive, filenames)
    raise NotHere(f"{root} holds none of {', '.join([*archives, *filenames])}")


def read_zip(path: Path, filenames: Sequence[str]) -> tuple[str, str, bytes]:
    """Read one member, by its plain name, in memory; nothing is ever extracted.

    Raises:
        NotHere: no member has one of the names.
        UserError: the zip is damaged or holds a path outside itself.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            for member in members:
                if _points_outside(member):
                    raise UserError(
                        f"{path} was refused: its member {member!r} points outside the archive; "
                        "download the original zip again."
                    )
            for filename in filenames:
                for member in members:
                    if PurePosixPath(member).name == filename:
                        return filename, f"{path} ({member})", archive.read(member)
    except DAMAGED as error:
        raise UserError(
            f"{path} is not a complete zip file ({error}); download it again."
        ) from error
    raise NotHere(f"{path} holds none of {', '.join(filenames)}")


def _points_outside(member: str) -> bool:
    parts = PurePosixPath(member.replace("\\", "/")).parts
    return bool(parts) and (".." in parts or parts[0] == "/" or ":" in parts[0])
