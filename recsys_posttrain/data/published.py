"""Public logs that are too large to be fetched for you: where their files lie on your disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    from recsys_posttrain.data.prepare import Dataset
    from recsys_posttrain.data.table_file import RatingsFile
    from recsys_posttrain.types import Interactions


def published_file(dataset: str, url: str, data_root: str | None, names: Sequence[str]) -> str:
    """The path of the first of `names` that is there, or its pattern, in data_root (otherwise in
    RECSYS_POSTTRAIN_DATA) or in a folder below it, however deep.

    Raises: UserError where there is none.
    """
    given = data_root or os.environ.get("RECSYS_POSTTRAIN_DATA")
    if not given:
        raise UserError(
            f"{dataset} is too large to be fetched for you: download it from {url}, unpack it and "
            f"give the folder that holds {names[0]} with --data-root FOLDER."
        )
    root = Path(given).expanduser()
    for name in names if root.is_dir() else ():
        if found := sorted(root.rglob(name)):
            above = found[0].parents[name.count("/")]
            return str(above / name)
    raise UserError(
        f"{given} holds no {' or '.join(names)}, in no folder below it: give the unpacked "
        f"{dataset} of {url} with --data-root."
    )


def hash_of(log: RatingsFile, dataset: object) -> str:
    """Of the files, and of the dataset's own settings, since two may read one file differently."""
    settings = {name: value for name, value in vars(dataset).items() if name != "data_root"}
    described = f"{log.content_hash()} {type(dataset).__name__} {sorted(settings.items())}"
    return hashlib.sha256(described.encode()).hexdigest()


def loaded(log: RatingsFile, dataset: Dataset) -> Interactions:
    """The log under the dataset's name and hash."""
    return replace(log.load(), name=dataset.name, content_hash=dataset.content_hash())
