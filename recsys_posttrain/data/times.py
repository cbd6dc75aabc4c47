"""The times of a column, exactly: whole seconds where all are whole, and nanoseconds otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from recsys_posttrain.data.notes import note
from recsys_posttrain.data.values import Column, numpy_of, with_points
from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa  # type: ignore[import-untyped]

NANO = 10**9
SECONDS_UNTIL_2100 = 4_102_444_800
UNITS = {"seconds": NANO, "milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}
# Dates written as one number: 20240131, with the hour, the minute and the second.
DATE_FORMATS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
RULE = (
    "the timestamp must be a number of seconds, milliseconds, microseconds or nanoseconds before "
    "the year 2100, or a date like 2024-01-31T12:00:00"
)


class Times(NamedTuple):
    """ticks_E: int64, so many a second since 1970."""

    ticks_E: np.ndarray
    ticks_per_second: int


def read_times(column: Column) -> Times:
    """Numbers of one unit, which their size tells, or dates, in UTC where they name no zone.

    A small number (a step of a session: 0, 1, 2) counts as seconds: it gives the order. All else
    that is not seconds or a date is said.

    Raises:
        UserError: a value is missing or no time; units are mixed; the column is of another type.
    """
    import pyarrow as pa

    column = column.plain()
    kind = column.values.type
    is_moment = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    if is_moment or pa.types.is_duration(kind):
        if not is_moment:
            note(f"{column.path}: {column.name} holds durations, read as times after one start")
        return _in_seconds_if_whole(_of_moments(column, is_moment))
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if not (is_number or column.is_text or pa.types.is_null(kind)):
        raise column.refuse_type("a time")
    column.check(numpy_of(column.values.is_valid(), "bool"), RULE)
    numbers = _numbers(with_points(column))
    if numbers is None:
        return _in_seconds_if_whole(_of_dates(column))
    return _in_seconds_if_whole(_of_numbers(column, *numbers))


def _in_seconds_if_whole(nanosecond_E: np.ndarray) -> Times:
    if (nanosecond_E % NANO == 0).all():
        return Times(nanosecond_E // NANO, 1)
    return Times(nanosecond_E, NANO)


def _of_moments(column: Column, is_moment: bool) -> np.ndarray:
    import pyarrow as pa

    column.check(numpy_of(column.values.is_valid(), "bool"), RULE)
    try:
        exact = column.values.cast(pa.timestamp("ns") if is_moment else pa.duration("ns"))
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{column.path}: {column.name} has a time before 1678 or after 2262, which nanoseconds "
            "cannot count; correct or remove its row."
        ) from error
    return numpy_of(exact.cast(pa.int64()), "int64")


def _of_dates(column: Column) -> np.ndarray:
    import pandas as pd

    text = column.values.to_pandas()
    times = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    column.check(times.notna().to_numpy(), RULE)
    in_range = (times.dt.year > 1677) & (times.dt.year < 2262)
    column.check(in_range.to_numpy(), RULE)
    return _nanoseconds(times)


def _nanoseconds(times: pd.Series) -> np.ndarray:
    import numpy as np

    return np.asarray(times.dt.as_unit("ns").astype("int64"))


def _numbers(column: Column) -> tuple[np.ndarray, np.ndarray] | None:
    """The whole part and the rest in billionths, with the sign of the whole; None where no value
    is a number.

    Not by way of floats where a text can be read exactly: a float of today's nanoseconds is off by
    up to 128 of them.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    # Arrow takes 0x10 for a number too.
    is_plain = not column.is_text or _every(column, r"^-?[0-9]+$")
    if is_plain and not pa.types.is_floating(column.values.type):
        try:
            whole_E = numpy_of(column.values.cast(pa.int64()), "int64")
            return whole_E, np.zeros_like(whole_E)
        except pa.ArrowInvalid:
            pass
    if column.is_text:
        pattern = r"^(?P<whole>[+-]?[0-9]{1,18})(?:\.(?P<rest>[0-9]*))?$"
        if _every(column, pattern):
            return _exactly(pc.extract_regex(column.values, pattern))
    number_E = pd.to_numeric(column.values.to_pandas(), errors="coerce").to_numpy("float64")
    if np.isnan(number_E).all() and column.is_text:
        return None
    column.check(np.abs(number_E) < 2.0**63, RULE)  # also where it is NaN
    whole_E = np.floor(number_E)
    rest_E = np.rint((number_E - whole_E) * NANO)
    return whole_E.astype("int64"), rest_E.astype("int64")


def _every(column: Column, pattern: str) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(column.values, pattern)).as_py())


def _exactly(parts: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = pc.struct_field(parts, "whole")
    rest = pc.fill_null(pc.struct_field(parts, "rest"), "")
    rest = pc.utf8_slice_codeunits(pc.utf8_rpad(rest, 9, "0"), 0, 9)
    rest_E = numpy_of(rest.cast(pa.int64()), "int64")
    is_negative_E = numpy_of(pc.starts_with(whole, "-"), "bool")
    whole_E = numpy_of(pc.utf8_ltrim(whole, "+").cast(pa.int64()), "int64")
    return whole_E, np.where(is_negative_E, -rest_E, rest_E)


def _of_numbers(column: Column, whole_E: np.ndarray, rest_E: np.ndarray) -> np.ndarray:
    """Nanoseconds since 1970, of the one unit in which every value lies before 2100."""
    import numpy as np

    dates = None if rest_E.any() else _calendar_dates(column, whole_E)
    if dates is not None:
        note(
            f"{column.path}: {column.name} is read as dates: {column.values[0].as_py()} is "
            f"{dates.iloc[0].isoformat()}"
        )
        return _nanoseconds(dates)
    names, factors = list(UNITS), np.array(list(UNITS.values()))
    last_U = SECONDS_UNTIL_2100 * (NANO // factors)
    unit_E = np.searchsorted(last_U, np.abs(whole_E))
    column.check((unit_E < len(names)) & ((whole_E >= 0) | (unit_E == 0)), RULE)
    differs_E = unit_E != unit_E[0]
    if differs_E.any():
        row = int(differs_E.argmax())
        raise UserError(
            f"{column.path}: the timestamps have several units; row 1 has {column.written(0)} "
            f"({names[unit_E[0]]}) and row {row + 1} has {column.written(row)} "
            f"({names[unit_E[row]]}): give all in one."
        )
    unit = names[unit_E[0]]
    factor = UNITS[unit]
    nanosecond_E = whole_E * factor + rest_E // (NANO // factor)
    if unit != "seconds":
        ends = nanosecond_E.min(), nanosecond_E.max()
        first, last = (str(np.datetime64(int(end), "ns"))[:10] for end in ends)
        note(f"{column.path}: {column.name} is in {unit}, from {first} to {last}")
    return np.asarray(nanosecond_E)


def _calendar_dates(column: Column, whole_E: np.ndarray) -> pd.Series | None:
    """Where most numbers are dates of 1970 to 2100 in one of DATE_FORMATS, all must be."""
    import numpy as np
    import pandas as pd

    middle = str(int(np.median(whole_E)))
    if len(middle) not in DATE_FORMATS or not 1970 <= int(middle[:4]) <= 2100:
        return None
    text = pd.Series(whole_E).astype(str)
    dates = pd.to_datetime(text, format=DATE_FORMATS[len(middle)], errors="coerce")
    is_date_E = dates.dt.year.between(1970, 2100).to_numpy()
    if is_date_E.mean() < 0.5:
        return None
    column.check(is_date_E, f"the timestamps are dates like {middle}")
    return dates
