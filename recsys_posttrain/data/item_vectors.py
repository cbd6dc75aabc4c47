"""Vectors of items: a parquet file, or a data frame, with ids and a column of lists or of numbers.

I items, F numbers of a vector.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from recsys_posttrain.config import require
from recsys_posttrain.data.columns import LARGEST, Column, read_ids
from recsys_posttrain.data.encode import as_text, some
from recsys_posttrain.data.notes import counted
from recsys_posttrain.data.table_columns import ALIASES, plain
from recsys_posttrain.data.table_paths import suffix_of, table_hash, table_paths
from recsys_posttrain.errors import UserError

WIDEST = 2**14
NAMES = ("item_id", *ALIASES["item_id"])
EXAMPLE = "item_id beside a column of lists, or beside columns of numbers"


class ItemVectors(NamedTuple):
    ids: np.ndarray  # each once
    vector_IF: np.ndarray  # float32, finite

    @property
    def width(self) -> int:
        return int(self.vector_IF.shape[1])


class VectorFile(NamedTuple):
    vectors: ItemVectors
    content_hash: str


def vector_file(path: str) -> VectorFile:
    """What a .parquet file holds; a file that stays the same is read once.

    Raises: UserError: it is missing, no parquet file, or as `item_vectors`.
    """
    require(
        suffix_of(path) == ".parquet",
        f"{path} must be a .parquet file of {EXAMPLE}; save it with DataFrame.to_parquet.",
    )
    (found,) = table_paths(path)[:1]
    try:
        state = found.stat()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    return _file(path, state.st_mtime_ns, state.st_size)


@lru_cache(1)
def _file(path: str, _changed: int, _size: int) -> VectorFile:
    content_hash = table_hash(path)
    try:
        tables = [pq.ParquetFile(each).read() for each in table_paths(path)]
        table = pa.concat_tables(tables)
    except pa.ArrowException as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is not a readable parquet file: {reason.rstrip('.')}.") from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    return VectorFile(_vectors(path, table), content_hash)


def item_vectors(source: str | Path | pd.DataFrame) -> ItemVectors:
    """The vectors of a .parquet file or a data frame.

    Raises: UserError: no column of ids, an id that is missing or there twice, a column that is no
    number, lists of several lengths, or a number that is missing or not finite.
    """
    if not isinstance(source, pd.DataFrame):
        return vector_file(str(source)).vectors
    try:
        table = pa.Table.from_pandas(source, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the data frame of items is no table of {EXAMPLE}: {reason}") from error
    return _vectors("the data frame of items", table)


def _vectors(label: str, table: Any) -> ItemVectors:
    names = [str(each) for each in table.column_names]
    key = _key(label, names)
    require(len(table), f"{label} has no row; give one for each item.")
    column = Column(label, names[key], pa.chunked_array(table.column(key)))
    ids = read_ids(column).to_numpy()
    number_of = pd.Series(as_text(ids))
    twice = number_of[number_of.duplicated()].unique().tolist()
    require(
        not twice,
        f"{label} has {counted(len(twice), 'item')} more than once ({some(twice)}); keep one "
        "vector of each.",
    )
    lists = [place for place, each in enumerate(table.schema.types) if _is_list(each)]
    require(
        len(lists) < 2,
        f"{label} has {len(lists)} columns of lists ({', '.join(names[each] for each in lists)}); "
        "keep the one that holds the vectors.",
    )
    vector_IF = (
        _of_lists(label, names[lists[0]], table.column(lists[0]), ids)
        if lists
        else _of_numbers(label, names, key, table)
    )
    bad_I = ~(np.abs(vector_IF) <= LARGEST).all(axis=1)  # NaN compares as False
    require(
        not bad_I.any(),
        f"{label}: the vectors of {counted(int(bad_I.sum()), 'item')} "
        f"({some(as_text(ids[bad_I]))}) hold NaN, nothing, or a number above {LARGEST:g}; correct "
        "or remove them.",
    )
    require(
        1 <= vector_IF.shape[1] <= WIDEST,
        f"{label} has vectors of {vector_IF.shape[1]:,} numbers; give 1 to {WIDEST:,}.",
    )
    return ItemVectors(ids, vector_IF)


def _key(label: str, names: list[str]) -> int:
    """Which column holds the ids."""
    places = [place for place, each in enumerate(names) if each.strip() == "item_id"]
    places = places or [place for place, each in enumerate(names) if plain(each) in NAMES]
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    require(
        len(places) == 1,
        f"{label} has {len(places) or 'no'} column{'s' * (len(places) > 1)} item_id (the columns "
        f"are {shown}); give {EXAMPLE}.",
    )
    return places[0]


def _is_list(kind: Any) -> bool:
    is_one = pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list
    return any(each(kind) for each in is_one)


def _is_number(kind: Any) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )


def _of_lists(label: str, name: str, column: Any, ids: np.ndarray) -> np.ndarray:
    values = column.combine_chunks()
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    kind = values.type.value_type
    require(
        _is_number(kind),
        f"{label}: the lists of the column {name} hold {kind}, not numbers; convert them.",
    )
    length_I = np.asarray(values.value_lengths().fill_null(0))
    width = int(np.bincount(length_I).argmax())
    other_I = length_I != width
    require(
        not other_I.any(),
        f"{label}: {name} has {width:,} numbers for most items and another count for "
        f"{counted(int(other_I.sum()), 'item')}, such as {int(length_I[other_I.argmax()]):,} for "
        f"item {ids[other_I.argmax()]}; give vectors of one length.",
    )
    return _float32(values.flatten()).reshape(len(values), width)


def _of_numbers(label: str, names: list[str], key: int, table: Any) -> np.ndarray:
    others = [place for place in range(len(names)) if place != key]
    require(others, f"{label} has no column but {names[key]}; give {EXAMPLE}.")
    for place in others:
        kind = table.schema.types[place]
        require(
            _is_number(kind),
            f"{label}: the column {names[place]} has the type {kind}, which is no number; leave it "
            "out or convert it.",
        )
    return np.stack([_float32(table.column(place)) for place in others], axis=1)


def _float32(values: Any) -> np.ndarray:
    """NaN where nothing is written."""
    return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float32)
