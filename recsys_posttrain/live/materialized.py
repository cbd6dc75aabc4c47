"""The recommendations of one event as servers read them: mapped from disk, never loaded whole.

    folder/manifest.json        event, stages, policy, sizes, checksums; renamed into place last
    folder/lists-<sha>.arrow    one row per user, sorted by user; one column of lists per stage

`live materialize` writes them, and this is all that the services know of a policy.
"""

import hashlib
from bisect import bisect_left
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import Any, cast

import pyarrow as pa  # type: ignore[import-untyped]

from recsys_posttrain.config import digest, require
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import read_json

MANIFEST = "manifest.json"


@dataclass(frozen=True, eq=False)
class Materialized:
    """Lists by user and stage.

    stages: in the order of the event's rules. version: hexadecimal digest of all that the folder
    holds; equal content has an equal version. lists: user_id (text, sorted), then one column per
    stage, mapped from the file.
    """

    event: str
    stages: tuple[str, ...]
    version: str
    lists: pa.Table

    @classmethod
    def open(cls, folder: Path) -> "Materialized":
        """What `materialize` wrote into `folder`. Reads the file once, to check it.

        Errors: UserError where it is missing, half-written, changed or damaged.
        """
        fix = "run `recsys-posttrain live materialize` again, or give the folder that it wrote"
        manifest = _checked_manifest(folder / MANIFEST, fix)
        path = folder / lists_name(manifest["lists_sha256"])
        try:
            content = pa.memory_map(str(path)).read_buffer()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error}): {fix}") from None
        if hashlib.sha256(content).hexdigest() != manifest["lists_sha256"]:
            raise UserError(f"{path} is cut short or damaged (its checksum differs): {fix}")
        lists = pa.ipc.open_file(content).read_all()
        # From the columns, because the version says nothing of the order of a manifest's names.
        stages = tuple(lists.schema.names[1:])
        return cls(manifest["event"], stages, manifest["version"], lists)

    def of(self, user: str) -> dict[str, list[str]] | None:
        """Of each stage the item ids, best first; None for a user who is not in it. O(log users)"""
        users, *stages = self.lists.columns
        row = bisect_left(users, user, key=methodcaller("as_py"))
        if row == len(users) or users[row].as_py() != user:
            return None
        # Decoded as a whole: item by item takes three times as long.
        lists = (column[row].values.dictionary_decode().to_pylist() for column in stages)
        return dict(zip(self.stages, lists, strict=True))


def lists_name(sha256: str) -> str:
    """A name that says what is in it: new lists never take the place of mapped ones."""
    return f"lists-{sha256[:16]}.arrow"


def version_of(manifest: dict[str, Any]) -> str:
    """The digest of everything else in a manifest; the lists are in it by their checksum."""
    rest = {name: value for name, value in manifest.items() if name != "version"}
    return digest(rest, length=64)


def _checked_manifest(path: Path, fix: str) -> dict[str, Any]:
    manifest = read_json(path, fix)
    try:
        is_whole = isinstance(manifest, dict) and manifest["version"] == version_of(manifest)
    except (KeyError, TypeError):  # TypeError: a value that no manifest has, such as NaN
        is_whole = False
    require(is_whole, f"{path} was changed or damaged (its version differs): {fix}")
    return cast(dict[str, Any], manifest)
