"""The dataset that a word on the command line means."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recsys_posttrain.data.movielens import MovieLens1M, MovieLens100K, MovieLensSmall
from recsys_posttrain.data.table_file import RatingsFile
from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    from recsys_posttrain.data.prepare import Dataset


def dataset_named(text: str, data_root: str | None = None, more: Sequence[Dataset] = ()) -> Dataset:
    """ml-100k, ml-1m, ml-latest-small, one of `more`, or the path of a .csv or .parquet file.

    Raises:
        UserError: none of these; the nearest name is suggested.
    """
    if text.lower().endswith((".csv", ".parquet")):
        return RatingsFile(text)
    known: list[Dataset]
    known = [MovieLens100K(data_root), MovieLens1M(data_root), MovieLensSmall(data_root), *more]
    for dataset in known:
        if text == dataset.name:
            return dataset
    names = [dataset.name for dataset in known]
    nearest = difflib.get_close_matches(text.lower(), names, n=1, cutoff=0.4)
    suggestion = f"did you mean {nearest[0]}? Otherwise " if nearest else ""
    raise UserError(
        f"There is no dataset {text!r}; {suggestion}give {', '.join(names)} "
        "or the path of a .csv or .parquet file."
    )
