"""One column of a table, and the sentences about the first row of it that breaks a rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from recsys_posttrain.data.notes import note
from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa  # type: ignore[import-untyped]

LARGEST, SMALLEST = 1e15, 1e-45  # models compute in float32: the sum of squares must be finite
SHOWN = 60  # characters of a value in a sentence


@dataclass(frozen=True, eq=False)
class Column:
    """values: a pyarrow ChunkedArray, in the order of the file. name: as the file writes it."""

    path: str
    name: str
    values: pa.ChunkedArray

    @property
    def is_text(self) -> bool:
        import pyarrow as pa

        return bool(pa.types.is_large_string(self.values.type))

    def plain(self) -> Column:
        """Dictionaries decoded, every kind of text and decimal number as one kind of text, without
        the blanks around it; text that is empty then is missing."""
        import pyarrow as pa
        import pyarrow.compute as pc  # type: ignore[import-untyped]

        values = self.values
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        kind = values.type
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if not (is_text or pa.types.is_string_view(kind) or pa.types.is_decimal(kind)):
            return replace(self, values=values)
        text = pc.utf8_trim_whitespace(values.cast(pa.large_string()))
        return replace(self, values=pc.if_else(pc.equal(text, ""), None, text))

    def check(self, good: np.ndarray, rule: str) -> None:
        """Name the first row that breaks a rule. Rows are counted from 1, without the header."""
        if good.all():
            return
        row = int((~good).argmax())
        raise UserError(
            f"{self.path}: {rule}; row {row + 1} has {self.written(row)}: correct or remove that "
            "row."
        )

    def written(self, row: int) -> str:
        value = self.values[row].as_py()
        if value is None or value != value:  # NaN
            return "nothing"
        text = str(value)
        return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")

    def refuse_type(self, wanted: str) -> UserError:
        return UserError(
            f"{self.path}: the column {self.name} has the type {self.values.type}, which is not "
            f"{wanted}; convert it before you save the file."
        )


def numpy_of(values: Any, dtype: str) -> np.ndarray:
    """Of a pyarrow array without missing values."""
    import numpy as np

    return np.asarray(values.to_numpy(), dtype=dtype)


def with_points(column: Column) -> Column:
    """Text with decimal commas (3,5) as text with decimal points, and says so.

    Raises:
        UserError: all of them could be thousands as well (3,500).
    """
    import pyarrow.compute as pc

    def every(pattern: str) -> bool:
        return bool(pc.all(pc.match_substring_regex(column.values, pattern)).as_py())

    if not column.is_text or not every(r"^[+-]?[0-9]+(,[0-9]+)?$"):
        return column
    has_comma = pc.match_substring(column.values, ",")
    if not pc.any(has_comma).as_py():
        return column
    if every(r"^([+-]?[0-9]+|[+-]?[0-9]{1,3},[0-9]{3})$"):
        row = int(numpy_of(pc.fill_null(has_comma, False), "bool").argmax())
        raise UserError(
            f"{column.path}: {column.name} of row {row + 1} is {column.written(row)}, which could "
            "have a decimal comma or one of thousands; write numbers with a decimal point."
        )
    note(f"{column.path}: {column.name} is written with decimal commas, read as decimal points")
    return replace(column, values=pc.replace_substring(column.values, ",", "."))


def read_ratings(column: Column) -> np.ndarray:
    """float64, each finite and within what models can compute with.

    Raises:
        UserError: a value is missing, no number, or too large; the column is of another type.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    column = with_points(column.plain())
    kind = column.values.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if not (is_number or column.is_text or pa.types.is_null(kind)):
        raise column.refuse_type("a number")
    numbers = pd.to_numeric(column.values.to_pandas(), errors="coerce")
    rating_E = numbers.astype("float64").to_numpy()
    column.check(np.isfinite(rating_E), "the rating must be a finite number")
    size_E = np.abs(rating_E)
    column.check(
        size_E <= LARGEST,
        f"the rating must be at most {LARGEST:g} in size, because models compute in float32, and "
        f"the largest is {size_E.max():g}",
    )
    column.check(
        (size_E >= SMALLEST) | (size_E == 0),
        f"the rating must be 0 or at least {SMALLEST:g} in size, because models compute in float32",
    )
    return np.asarray(rating_E)
