"""Find one ratings file in what a user has: the file, a folder with it, or a zip.

Nothing larger than MOST_BYTES is read into memory, whatever a header declares.
"""

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from recsys_posttrain.errors import UserError

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others are not unpacked in bounded pieces
PACKED = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}
MOST_BYTES = 1 << 27  # three times the largest file of the datasets
CHUNK_BYTES = 1 << 18


class NotHere(Exception):
    """A source does not have the data; the text says why and the next source is tried."""


class TooLarge(ValueError):
    """More than MOST_BYTES; the text says so."""

    def __init__(self) -> None:
        super().__init__(f"it holds more than {MOST_BYTES:,} bytes, far more than the ratings")


def read_bounded(
    file: IO[bytes] | gzip.GzipFile, advance: Callable[[int], None] = lambda _: None
) -> bytes:
    """All of the file, read piece by piece. advance: called with the size of each piece.

    Raises: TooLarge: as soon as there is more than MOST_BYTES.
    """
    content = bytearray()
    while chunk := file.read(CHUNK_BYTES):
        content += chunk
        if len(content) > MOST_BYTES:
            raise TooLarge
        advance(len(chunk))
    return bytes(content)


def unpacked(content: bytes) -> bytes:
    """A gz file's content.

    Raises: TooLarge, OSError, EOFError, zlib.error: too large, or damaged.
    """
    with gzip.open(io.BytesIO(content)) as file:
        return read_bounded(file)


def read_root(root: Path, dataset: str, filenames: Sequence[str]) -> tuple[str, str, bytes]:
    """Read the first of `filenames` from a zip, a file, or a folder that holds either.

    Returns: the file's plain name, a description of the place, and the content.

    Raises: NotHere: none of the names is there. UserError: the zip is damaged or holds a path
    outside itself, or a file is unreadable.
    """
    root = root.expanduser()
    archives = (f"{dataset}.zip", f"{dataset}-files.zip")
    try:
        if root.is_file():
            return _read_file(root) if root.name in filenames else read_zip(root, filenames)
        if not root.is_dir():
            raise NotHere(f"{root} does not exist")
        for filename in filenames:
            for candidate in (root / filename, root / dataset / filename):
                if candidate.is_file():
                    return _read_file(candidate)
        for archive in archives:
            if (root / archive).is_file():
                return read_zip(root / archive, filenames)
    except OSError as error:
        raise UserError(f"Cannot read {root}: {error.strerror or error}.") from error
    raise NotHere(f"{root} holds none of {', '.join([*archives, *filenames])}")


def _read_file(path: Path) -> tuple[str, str, bytes]:
    try:
        with path.open("rb") as file:
            return path.name, str(path), read_bounded(file)
    except TooLarge as error:
        raise UserError(f"{path} was refused: {error}; is it the right file?") from error


def read_zip(
    path: Path | IO[bytes], filenames: Sequence[str], name: str = ""
) -> tuple[str, str, bytes]:
    """Read one member, by its plain name, in memory; nothing is ever extracted.

    name: how sentences call a zip that is not on disk.

    Raises: NotHere: no member has one of the names. UserError: the zip is damaged, its member is
    far too large or packed in a way that is not read, or it holds a path outside itself.
    """
    name = name or str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                if _points_outside(member.filename):
                    raise UserError(
                        f"{name} was refused: its member {member.filename!r} points outside the "
                        "archive; download the original zip again."
                    )
            for filename in filenames:
                for member in members:
                    if PurePosixPath(member.filename).name == filename:
                        place = f"{name} ({member.filename})"
                        return filename, place, _read_member(archive, member, place)
    except DAMAGED as error:
        raise UserError(
            f"{name} is not a complete zip file ({error}); download it again."
        ) from error
    raise NotHere(f"{name} holds none of {', '.join(filenames)}")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: str) -> bytes:
    fix = "download the original zip again"
    if member.flag_bits & 1:
        raise UserError(f"{place} was refused: it is encrypted; {fix}.")
    if member.compress_type not in PLAIN:
        kind = PACKED.get(member.compress_type, f"method {member.compress_type}")
        raise UserError(
            f"{place} was refused: it is packed by {kind}, and only stored and deflated members "
            f"are read; {fix}, or unpack it and give the folder."
        )
    try:
        if member.file_size > MOST_BYTES:
            raise TooLarge
        with archive.open(member) as file:
            return read_bounded(file)
    except TooLarge as error:
        raise UserError(f"{place} was refused: {error}; {fix}.") from error


def _points_outside(member: str) -> bool:
    parts = PurePosixPath(member.replace("\\", "/")).parts
    return bool(parts) and (".." in parts or parts[0] == "/" or ":" in parts[0])
