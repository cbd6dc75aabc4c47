"""The dataset and the split that a word on the command line means."""

import difflib

from recsys_posttrain.data.global_time import GlobalTime
from recsys_posttrain.data.movielens import MovieLens1M, MovieLens100K, MovieLensSmall
from recsys_posttrain.data.split import LeaveOneOut, SplitConfig
from recsys_posttrain.data.table_file import RatingsFile
from recsys_posttrain.data.user_holdout import UserHoldout
from recsys_posttrain.errors import UserError


def dataset_named(
    text: str, data_root: str | None = None
) -> MovieLens100K | MovieLens1M | MovieLensSmall | RatingsFile:
    """ml-100k, ml-1m, ml-latest-small, or the path of a .csv or .parquet file.

    Raises:
        UserError: none of these; the nearest name is suggested.
    """
    if text.lower().endswith((".csv", ".parquet")):
        return RatingsFile(text)
    known: list[MovieLens100K | MovieLens1M | MovieLensSmall]
    known = [MovieLens100K(data_root), MovieLens1M(data_root), MovieLensSmall(data_root)]
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


def split_named(text: str) -> SplitConfig:
    """leave-one-out, global-time or user-holdout, each with its defaults.

    Raises:
        UserError: none of these; the nearest name is suggested.
    """
    known: dict[str, SplitConfig] = {
        "leave-one-out": LeaveOneOut(),
        "global-time": GlobalTime(),
        "user-holdout": UserHoldout(),
    }
    if text not in known:
        nearest = difflib.get_close_matches(text.lower(), known, n=1, cutoff=0.4)
        suggestion = f"did you mean {nearest[0]}? Otherwise " if nearest else ""
        raise UserError(f"There is no split {text!r}; {suggestion}give {', '.join(known)}.")
    return known[text]
