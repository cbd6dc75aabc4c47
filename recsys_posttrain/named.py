"""The dataset that a word on the command line means, whether it is a log or a world."""

import difflib

from recsys_posttrain.data import MovieLens1M, MovieLens100K, MovieLensSmall, RatingsFile
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds.jester import Jester


def dataset_named(text: str, data_root: str | None = None) -> Dataset:
    """ml-100k, ml-1m, ml-latest-small, jester, or the path of a .csv or .parquet file.

    Raises:
        UserError: none of these; the nearest name is suggested.
    """
    if text.lower().endswith((".csv", ".parquet")):
        return RatingsFile(text)
    known: list[Dataset] = [
        MovieLens100K(data_root),
        MovieLens1M(data_root),
        MovieLensSmall(data_root),
        Jester(data_root=data_root),
    ]
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
