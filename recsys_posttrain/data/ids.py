"""The ids of a column: whole numbers where all of them are, and text otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_posttrain.data.notes import note
from recsys_posttrain.data.values import Column, numpy_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa  # type: ignore[import-untyped]

LONGEST = 512  # characters: an id is printed, and a longer one is a text in the wrong column
WHOLE = r"^-?(0|[1-9][0-9]{0,17})(\.0+)?$"


def read_ids(column: Column) -> pd.Series:
    """Text that is a whole number in every row, written plainly (7, not 007), becomes one.

    So does 28.0, which is what a join with missing rows makes of 28. Blanks around an id are not
    part of it. Both are said.

    Raises:
        UserError: an id is missing or longer than LONGEST, a float is not whole, or the column
            holds lists, dates or other things that are no ids.
    """
    import numpy as np
    import pyarrow as pa

    raw, column = column, column.plain()
    missing = f"every event needs a value in {column.name}"
    kind = column.values.type
    if pa.types.is_floating(kind):
        number_E = column.values.to_numpy().astype("float64")
        column.check(~np.isnan(number_E), missing)
        column.check(
            (np.floor(number_E) == number_E) & (np.abs(number_E) <= 2.0**53),
            f"{column.name} holds numbers with a decimal point, which are ids only where all are "
            "whole and have at most 15 digits",
        )
        _say_whole(column)
        return _series(number_E.astype("int64"))
    if not (pa.types.is_integer(kind) or column.is_text or pa.types.is_null(kind)):
        raise column.refuse_type("text or a whole number")
    column.check(numpy_of(column.values.is_valid(), "bool"), missing)
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return _series(column.values.to_numpy().astype("int64"))
    return _of_text(raw, Column(column.path, column.name, column.values.cast(pa.large_string())))


def _of_text(raw: Column, column: Column) -> pd.Series:
    import pyarrow as pa
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    text = column.values
    column.check(
        numpy_of(pc.less_equal(pc.utf8_length(text), LONGEST), "bool"),
        f"an id has at most {LONGEST} characters, and {column.name} has longer ones; is it the "
        "right column?",
    )
    written = raw.values.cast(pa.large_string())
    blanks = pc.sum(pc.not_equal(written, text)).as_py()
    if blanks:
        note(f"{column.path}: {blanks:,} values of {column.name} have blanks around them, left out")
    numbers = _as_integers(text)
    if numbers is not None and pc.all(pc.equal(numbers.cast(pa.large_string()), text)).as_py():
        return _series(numbers.to_numpy())
    if pc.all(pc.match_substring_regex(text, WHOLE)).as_py():
        _say_whole(column)
        whole = pc.replace_substring_regex(text, r"\.0+$", "")
        return _series(whole.cast(pa.int64()).to_numpy())
    return _series(text.to_pandas())


def _as_integers(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    import pyarrow as pa

    try:
        return text.cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def _say_whole(column: Column) -> None:
    note(f"{column.path}: {column.name} is written like 28.0, read as the whole numbers they are")


def _series(values: object) -> pd.Series:
    import pandas as pd

    return pd.Series(values)
