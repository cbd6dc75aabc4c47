"""The files that a path means: one, those of a folder, or those that a pattern (day*.csv) fits."""

import hashlib
import re
from glob import glob
from pathlib import Path

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import sha256_of

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
_SIGNS = re.compile(r"[*?\[\]]+")


def suffix_of(path: str) -> str:
    """Which of SUFFIXES the name ends in, in lower case; "" for none."""
    return next((end for end in SUFFIXES[::-1] if path.lower().endswith(end)), "")


def is_table(path: str) -> bool:
    """Whether a text means a table file, or a folder, rather than a name."""
    return bool(suffix_of(path)) or Path(path).expanduser().is_dir()


def table_name(path: str) -> str:
    """A name without a suffix and the signs of a pattern."""
    name = Path(path).name or Path(path).absolute().name
    return _SIGNS.sub("", name[: len(name) - len(suffix_of(name))]) or "files"


def table_paths(text: str) -> list[Path]:
    """In the order of their names. Files of a folder that begin with . or _ are no part of it.

    Raises: UserError where there is none, one is no table, or they are of several kinds.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        inside = (each.relative_to(path) for each in path.rglob("*") if each.is_file())
        seen = [each for each in inside if not any(part[0] in "._" for part in each.parts)]
        paths = sorted(path / each for each in seen if suffix_of(each.name))
        ends = ", ".join(SUFFIXES)
        require(paths, f"{text} is a folder without a file of {ends}; give one with tables.")
        kinds = sorted({suffix_of(each.name) for each in paths})
        require(
            len(kinds) == 1,
            f"{text} holds {' and '.join(kinds)} files; give those of one kind as "
            f"{path / '*'}{kinds[0]}.",
        )
        return paths
    if not suffix_of(text):
        raise UserError(f"{text} is none of {', '.join(SUFFIXES)}; convert it to one of them.")
    if not path.exists() and _SIGNS.search(text):
        paths = sorted(map(Path, glob(str(path))))
        require(paths, f"There is no file that {text} fits; check the pattern.")
        return [found for each in paths for found in table_paths(str(each))]
    require(path.exists(), f"There is no file {text}; check the path.")
    require(path.is_file(), f"{text} is not a regular file; save what it gives as a file.")
    return [path]


def table_hash(text: str) -> str:
    """SHA-256 of the file; of several, that of theirs."""
    try:
        hashes = [sha256_of(path) for path in table_paths(text)]
    except OSError as error:
        raise UserError(f"Cannot read {text}: {error.strerror or error}.") from error
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()
