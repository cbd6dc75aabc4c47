"""One column of a table: its ids or its ratings, or a sentence about the first row that breaks a
rule."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from recsys_posttrain.data.notes import note
from recsys_posttrain.data.propensity import NO_PROPENSITY
from recsys_posttrain.errors import UserError

LARGEST, SMALLEST = 1e15, 1e-45  # models compute in float32: the sum of squares must be finite
SHOWN = 60  # characters of a value in a sentence
LONGEST = 512  # characters: an id is printed, and a longer one is a text in the wrong column
WHOLE = r"^-?(0|[1-9][0-9]{0,17})(\.0+)?$"


@dataclass(frozen=True, eq=False)
class Column:
    """values: a pyarrow ChunkedArray, in the order of the file. name: as the file writes it. ends:
    of several files, the name of each and the row after its last. first: of a part of a file, the
    row that it begins with."""

    path: str
    name: str
    values: pa.ChunkedArray
    ends: tuple[tuple[str, int], ...] = ()
    first: int = 0

    @property
    def is_text(self) -> bool:
        return bool(pa.types.is_large_string(self.values.type))

    @property
    def is_number(self) -> bool:
        kind = self.values.type
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

    def plain(self) -> "Column":
        """Dictionaries decoded, every kind of text and decimal number as one kind of text, without
        the blanks around it; text that is empty then is missing."""
        values = self.values
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        kind = values.type
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if not (is_text or pa.types.is_string_view(kind) or pa.types.is_decimal(kind)):
            return replace(self, values=values)
        return replace(self, values=by_chunk(_trimmed, values, pa.large_string()))

    def every(self, pattern: str) -> bool:
        """Whether all texts match."""
        return bool(pc.all(pc.match_substring_regex(self.values, pattern)).as_py())

    def check(self, good: np.ndarray, rule: str) -> None:
        """Name the first row that breaks a rule."""
        if not good.all():
            row = int((~good).argmax())
            raise UserError(
                f"{self.path}: {rule}; {self.place(row)} has {self.written(row)}: correct or "
                "remove that row."
            )

    def without_values(self) -> "Column":
        """What sentences need of it."""
        return replace(self, values=self.values.slice(0, 0))

    def place(self, row: int) -> str:
        """In words. Rows are counted from 1, without the header."""
        row, first = row + self.first, 0
        for name, end in self.ends:
            if row < end:
                return f"row {row - first + 1} of {name}"
            first = end
        return f"row {row + 1}"

    @property
    def holds_numbers(self) -> bool:
        """Whether all that is written is a number; of a plain column."""
        if not self.is_text:
            return self.is_number or bool(pa.types.is_boolean(self.values.type))
        there = self.values.drop_null()
        numbers = pd.to_numeric(there.to_pandas(), errors="coerce")
        return len(there) > 0 and bool(numbers.notna().all())

    def check_there(self, rule: str) -> None:
        self.check(numpy_of(self.values.is_valid(), "bool"), rule)

    def check_type(self, wanted: str, is_right: bool = False) -> None:
        """is_right: beside text and a column of nothing, whose first row is named instead."""
        if not (is_right or self.is_text or pa.types.is_null(self.values.type)):
            raise UserError(
                f"{self.path}: the column {self.name} has the type {self.values.type}, which is "
                f"not {wanted}; convert it before you save the file."
            )

    def written(self, row: int) -> str:
        value = self.values[row].as_py()
        if value is None or value != value:  # NaN
            return "nothing"
        text = str(value)
        return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def by_chunk(
    change: Callable[[pa.Array], pa.Array], values: pa.ChunkedArray, kind: pa.DataType
) -> pa.ChunkedArray:
    """kind: of the result. A step of a whole column is a column more, of a long log much memory."""
    return pa.chunked_array([change(chunk) for chunk in values.chunks], type=kind)


def _trimmed(chunk: pa.Array) -> pa.Array:
    text = pc.utf8_trim_whitespace(chunk.cast(pa.large_string()))
    return pc.if_else(pc.equal(text, ""), None, text)


def numpy_of(values: Any, dtype: str) -> np.ndarray:
    """Of a pyarrow array without missing values."""
    return np.asarray(values.to_numpy(), dtype=dtype)


def with_points(column: Column) -> Column:
    """Text with decimal commas (3,5) as text with decimal points, and says so.

    Raises: UserError: all of them could be thousands as well (3,500).
    """
    if not column.is_text or not column.every(r"^[+-]?[0-9]+(,[0-9]+)?$"):
        return column
    has_comma = pc.match_substring(column.values, ",")
    if not pc.any(has_comma).as_py():
        return column
    if column.every(r"^([+-]?[0-9]+|[+-]?[0-9]{1,3},[0-9]{3})$"):
        row = int(numpy_of(pc.fill_null(has_comma, False), "bool").argmax())
        raise UserError(
            f"{column.path}: {column.name} of {column.place(row)} is {column.written(row)}, which "
            "could have a decimal comma or one of thousands; write numbers with a decimal point."
        )
    note(f"{column.path}: {column.name} is written with decimal commas, read as decimal points")
    return replace(column, values=pc.replace_substring(column.values, ",", "."))


def read_ratings(column: Column, is_asked_E: np.ndarray | None = None) -> np.ndarray:
    """float64, each finite and within what models can compute with.

    is_asked_E: the rows that need one; the others get 0. None: all.

    Raises: UserError: a value is missing, no number, or too large; the column is of another type.
    """
    column, rating_E = _read_numbers(column)
    rating_E = rating_E if is_asked_E is None else np.where(is_asked_E, rating_E, 0.0)
    column.check(np.isfinite(rating_E), "the rating must be a finite number")
    for good_E, rule in size_rules(rating_E, "the rating"):
        column.check(good_E, rule)
    return rating_E


def size_rules(value_E: np.ndarray, what: str) -> Iterator[tuple[np.ndarray, str]]:
    """What models can compute with, and the rule in words."""
    size_E, why = np.abs(value_E), "because models compute in float32"
    yield (
        size_E <= LARGEST,
        f"{what} must be at most {LARGEST:g} in size, {why}, and the largest is {size_E.max():g}",
    )
    yield (
        (size_E >= SMALLEST) | (size_E == 0),
        f"{what} must be 0 or at least {SMALLEST:g} in size, {why}",
    )


def read_propensities(column: Column, is_asked_E: np.ndarray | None = None) -> np.ndarray:
    """float64, each in (0, 1]. Raises: UserError: one is missing, no number or outside.

    is_asked_E: as for `read_ratings`; the others get 1."""
    column, propensity_E = _read_numbers(column)
    propensity_E = propensity_E if is_asked_E is None else np.where(is_asked_E, propensity_E, 1.0)
    column.check((propensity_E > 0) & (propensity_E <= 1), NO_PROPENSITY)
    return propensity_E


def read_numbers(column: Column) -> np.ndarray:
    """float64; NaN where nothing is written. Raises: UserError: something else is no number."""
    column, number_E = _read_numbers(column)
    if column.is_text:
        is_empty_E = ~numpy_of(column.values.is_valid(), "bool")
        rule = f"{column.name} must be a number wherever it is written"
        column.check(~np.isnan(number_E) | is_empty_E, rule)
    return number_E


def _read_numbers(column: Column) -> tuple[Column, np.ndarray]:
    """The column as it was read, and float64 with NaN for what is no number."""
    column = with_points(column.plain())
    is_right = column.is_number or pa.types.is_boolean(column.values.type)
    column.check_type("a number", is_right)
    number_E, first = np.empty(len(column.values)), 0
    for chunk in column.values.chunks:  # all at once would take as much as the whole log
        numbers = pd.to_numeric(chunk.to_pandas(), errors="coerce")
        number_E[first : first + len(chunk)] = numbers.astype("float64")
        first += len(chunk)
    return column, number_E


def read_ids(column: Column) -> pd.Series:
    """Text that is a whole number in every row, written plainly (7, not 007), becomes one.

    So does 28.0, which is what a join with missing rows makes of 28. Blanks around an id are not
    part of it. Both are said.

    Raises: UserError: an id is missing or longer than LONGEST, a float is not whole, or the column
    holds lists, dates or other things that are no ids.
    """
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
        return pd.Series(number_E.astype("int64"))
    column.check_type("text or a whole number", column.is_number)
    column.check_there(missing)
    if column.is_number and kind != pa.uint64():
        return pd.Series(column.values.to_numpy().astype("int64"))
    return _of_text(raw, replace(column, values=column.values.cast(pa.large_string())))


def _of_text(raw: Column, column: Column) -> pd.Series:
    text = column.values
    column.check(
        numpy_of(pc.less_equal(pc.utf8_length(text), LONGEST), "bool"),
        f"an id has at most {LONGEST} characters, and {column.name} has longer ones; is it the "
        "right column?",
    )
    if blanks := _changed(raw.values, text):
        note(f"{column.path}: {blanks:,} values of {column.name} have blanks around them, left out")
    with suppress(pa.ArrowInvalid):
        numbers = text.cast(pa.int64())
        if pc.all(pc.equal(numbers.cast(pa.large_string()), text)).as_py():
            return pd.Series(numbers.to_numpy())
    if column.every(WHOLE):
        _say_whole(column)
        whole = pc.replace_substring_regex(text, r"\.0+$", "")
        return pd.Series(whole.cast(pa.int64()).to_numpy())
    return pd.Series(text.to_pandas())


def _changed(raw: pa.ChunkedArray, text: pa.ChunkedArray) -> int:
    """How many values differ from what was read."""
    pairs = zip(raw.chunks, text.chunks, strict=True)
    found = [pc.sum(pc.not_equal(old.cast(new.type), new)).as_py() for old, new in pairs]
    return sum(filter(None, found))


def _say_whole(column: Column) -> None:
    note(f"{column.path}: {column.name} is written like 28.0, read as the whole numbers they are")
