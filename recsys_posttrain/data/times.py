"""The times of a column, exactly: whole seconds where all are whole, and nanoseconds otherwise."""

from contextlib import suppress
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from recsys_posttrain.data.columns import Column, numpy_of, with_points
from recsys_posttrain.data.notes import note
from recsys_posttrain.errors import UserError

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
    column = column.plain()
    kind = column.values.type
    is_moment = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    is_duration = pa.types.is_duration(kind)
    column.check_type("a time", column.is_number or is_moment or is_duration)
    column.check_there(RULE)
    if is_duration:
        note(f"{column.path}: {column.name} holds durations, read as times after one start")
    if is_moment or is_duration:
        nanosecond_E = _of_moments(column, is_moment)
    elif (numbers := _numbers(with_points(column))) is not None:
        nanosecond_E = _of_numbers(column, *numbers)
    else:
        text = column.values.to_pandas()
        times = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
        column.check(times.dt.year.between(1678, 2261).to_numpy(), RULE)
        nanosecond_E = _nanoseconds(times)
    is_whole = not (nanosecond_E % NANO).any()
    return Times(nanosecond_E // NANO, 1) if is_whole else Times(nanosecond_E, NANO)


def _of_moments(column: Column, is_moment: bool) -> np.ndarray:
    try:
        exact = column.values.cast(pa.timestamp("ns") if is_moment else pa.duration("ns"))
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{column.path}: {column.name} has a time before 1678 or after 2262, which nanoseconds "
            "cannot count; correct or remove its row."
        ) from error
    return numpy_of(exact.cast(pa.int64()), "int64")


def _nanoseconds(times: pd.Series) -> np.ndarray:
    return np.asarray(times.dt.as_unit("ns").astype("int64"))


def _numbers(column: Column) -> tuple[np.ndarray, np.ndarray] | None:
    """The whole part and the rest in billionths, with the sign of the whole; None where no value
    is a number.

    Not by way of floats where a text can be read exactly: a float of today's nanoseconds is off by
    up to 128 of them.
    """
    # Arrow takes 0x10 for a number too.
    is_plain = not column.is_text or column.every(r"^-?[0-9]+$")
    if is_plain and not pa.types.is_floating(column.values.type):
        with suppress(pa.ArrowInvalid):
            whole_E = numpy_of(column.values.cast(pa.int64()), "int64")
            return whole_E, np.zeros_like(whole_E)
    pattern = r"^(?P<whole>[+-]?[0-9]{1,18})(?:\.(?P<rest>[0-9]*))?$"
    if column.is_text and column.every(pattern):
        parts = pc.extract_regex(column.values, pattern)
        whole, rest = (pc.struct_field(parts, name) for name in ("whole", "rest"))
        rest = pc.utf8_slice_codeunits(pc.utf8_rpad(pc.fill_null(rest, ""), 9, "0"), 0, 9)
        rest_E = numpy_of(rest.cast(pa.int64()), "int64")
        is_negative_E = numpy_of(pc.starts_with(whole, "-"), "bool")
        whole_E = numpy_of(pc.utf8_ltrim(whole, "+").cast(pa.int64()), "int64")
        return whole_E, np.where(is_negative_E, -rest_E, rest_E)
    number_E = pd.to_numeric(column.values.to_pandas(), errors="coerce").to_numpy("float64")
    if np.isnan(number_E).all() and column.is_text:
        return None
    column.check(np.abs(number_E) < 2.0**63, RULE)  # also where it is NaN
    whole_E = np.floor(number_E)
    rest_E = np.rint((number_E - whole_E) * NANO)
    return whole_E.astype("int64"), rest_E.astype("int64")


def _of_numbers(column: Column, whole_E: np.ndarray, rest_E: np.ndarray) -> np.ndarray:
    """Nanoseconds since 1970, of the one unit in which every value lies before 2100."""
    dates = None if rest_E.any() else _calendar_dates(column, whole_E)
    if dates is not None:
        note(
            f"{column.path}: {column.name} is read as dates: {column.values[0].as_py()} is "
            f"{dates.iloc[0].isoformat()}"
        )
        return _nanoseconds(dates)
    names, factors = list(UNITS), np.array(list(UNITS.values()))
    last_U = SECONDS_UNTIL_2100 * (NANO // factors)
    unit_E = np.searchsorted(last_U, np.abs(whole_E)).astype(np.int8)
    column.check((unit_E < len(names)) & ((whole_E >= 0) | (unit_E == 0)), RULE)
    differs_E = unit_E != unit_E[0]
    if differs_E.any():
        row = int(differs_E.argmax())
        raise UserError(
            f"{column.path}: the timestamps have several units; {column.place(0)} has "
            f"{column.written(0)} ({names[unit_E[0]]}) and {column.place(row)} has "
            f"{column.written(row)} "
            f"({names[unit_E[row]]}): give all in one."
        )
    unit = names[unit_E[0]]
    factor = UNITS[unit]
    nanosecond_E = whole_E * factor
    if rest_E.any():
        nanosecond_E += rest_E // (NANO // factor)
    if unit != "seconds":
        ends = nanosecond_E.min(), nanosecond_E.max()
        first, last = (str(np.datetime64(int(end), "ns"))[:10] for end in ends)
        note(f"{column.path}: {column.name} is in {unit}, from {first} to {last}")
    return np.asarray(nanosecond_E)


def _calendar_dates(column: Column, whole_E: np.ndarray) -> pd.Series | None:
    """Where most numbers are dates of 1970 to 2100 in one of DATE_FORMATS, all must be."""
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
