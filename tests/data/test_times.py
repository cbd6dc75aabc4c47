"""Which unit numbers are in, what counts as a date, and what is refused, by hand."""

import decimal

import pyarrow as pa
import pytest

from recsys_posttrain.data.columns import Column
from recsys_posttrain.data.times import read_times
from recsys_posttrain.errors import UserError

NOON = 1_706_702_400  # 2024-01-31T12:00:00Z


def seconds_of(values, kind=None):
    times = read_times(Column("mine.csv", "ts", pa.chunked_array([pa.array(values, kind)])))
    return [tick / times.ticks_per_second for tick in times.ticks_E.tolist()]


READ = {
    "seconds": ([str(NOON), str(NOON + 1)], None),
    "milliseconds": ([f"{NOON}000", f"{NOON + 1}000"], "in milliseconds, from 2024-01-31 to"),
    "microseconds": ([f"{NOON}000000", f"{NOON + 1}000000"], "in microseconds, from 2024-01-31"),
    "nanoseconds": ([f"{NOON}{'0' * 9}", f"{NOON + 1}{'0' * 9}"], "in nanoseconds, from 2024"),
    "dates": (["2024-01-31T12:00:00Z", "2024-01-31 13:00:01+01:00"], None),
    "days with seconds": (["20240131120000", "20240131120001"], "20240131120000 is 2024-01-31T12"),
    "decimal commas": ([f"{NOON},00", f"{NOON + 1},00"], "decimal commas"),
    "exponents": (["1.7067024e9", "1.706702401e9"], None),
    "decimals": ([decimal.Decimal(f"{NOON}.0"), decimal.Decimal(f"{NOON + 1}.0")], None),
}


@pytest.mark.parametrize("case", READ)
def test_times_that_are_read(case, capsys):
    values, said = READ[case]
    assert seconds_of(values) == [NOON, NOON + 1]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (said is not None)
    assert said is None or said in lines[0]


def test_dates_as_numbers(capsys):
    assert seconds_of(["20240131", "20240201"]) == [NOON - 43_200, NOON + 43_200]
    assert "20240131 is 2024-01-31T00:00:00" in capsys.readouterr().err
    assert seconds_of(["2024013112", "2024013113"]) == [NOON, NOON + 3600]
    assert seconds_of(["202401311200", "202401311201"]) == [NOON, NOON + 60]


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (["1.0", "2.0"], [1, 2]),
        (["-5", "1e9"], [-5, 1_000_000_000]),
        (["1970-01-02", "1970-01-02T00:00:01"], [86_400, 86_401]),
        (["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:07Z"], [0, 7]),
    ],
)
def test_seconds_since_1970(values, seconds):
    assert seconds_of(values) == seconds


@pytest.mark.parametrize("steps", [["0", "1", "2"], ["19700102", "19700999", "19709999"]])
def test_counters_are_an_order_and_nothing_is_said(steps, capsys):
    assert seconds_of(steps) == [float(step) for step in steps]
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "unit"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)], ids=str
)
def test_parquet_times_of_every_unit(kind, unit, capsys):
    moments = [NOON * unit, NOON * unit + 1]
    expected = [NOON, NOON + 1 / unit]
    assert seconds_of(moments, pa.timestamp(kind)) == pytest.approx(expected, abs=0)
    assert seconds_of(moments, pa.timestamp(kind, tz="Europe/Berlin")) == expected
    assert not capsys.readouterr().err
    assert seconds_of([0, 3], pa.duration(kind)) == [0, 3 / unit]
    assert "durations" in capsys.readouterr().err


def test_days_and_what_is_no_time():
    assert seconds_of([0, 3], pa.date32()) == [0, 3 * 86_400]
    assert seconds_of([0, 86_400_000], pa.date64()) == [0, 86_400]
    with pytest.raises(UserError, match="before 1678 or after 2262"):
        seconds_of([10**12], pa.timestamp("s"))
    with pytest.raises(UserError, match=r"the type time32\[s\], which is not a time"):
        seconds_of([1], pa.time32("s"))


def test_floats_keep_their_order_to_the_last_bit():
    first = 1_700_000_000.0000002  # neighbours, 2.4e-7 apart
    times = read_times(Column("f", "ts", pa.chunked_array([[first, 1_700_000_000.0000005]])))
    assert times.ticks_E.tolist() == [1_700_000_000_000_000_238, 1_700_000_000_000_000_477]


REFUSED = {
    "two units": (["1700000000", "1700000001", "1700000002000"], "row 3 has '1700000002000' (mill"),
    "a marker": (["1700000000000", "0"], "row 2 has '0' (seconds): give all in one"),
    "no such day": (["20240131", "20240230", "20240229"], "like 20240229; row 2 has '20240230'"),
    "a day and none": (["20240131", "0", "20240131"], "dates like 20240131; row 2 has '0'"),
    "beyond 2100": (["4102444800000000001"], "row 1 has '4102444800000000001'"),
    "beyond 64 bits": (["99999999999999999999", "1"], "row 1 has '99999999999999999999'"),
    "before 1970, not in seconds": (["-1700000000000"], "row 1 has '-1700000000000'"),
    "a year that dates use as a marker": (["2024-01-01", "0001-01-01"], "row 2 has '0001-01-01'"),
    "no date of the calendar": (["2024-02-30"], "row 1 has '2024-02-30'"),
    "another order": (["31/01/2024"], "row 1 has '31/01/2024'"),
    "hexadecimal": (["1700000000", "0x10"], "row 2 has '0x10'"),
    "all hexadecimal": (["0x10", "0X11"], "row 1 has '0x10'"),
    "dates and numbers": (["2024-01-31", "1700000000"], "row 1 has '2024-01-31'"),
    "nothing": (["1", None], "row 2 has nothing"),
    "only blanks": (["1", "  "], "row 2 has nothing"),
    "not a number": ([1.0, float("nan")], "row 2 has nothing"),
    "infinite": ([1.0, float("inf")], "row 2 has 'inf'"),
    "true": ([True], "the column ts has the type bool, which is not a time"),
    "list": ([[1]], "the column ts has the type list<item: int64>"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_times_that_are_refused(case):
    values, sentence = REFUSED[case]
    with pytest.raises(UserError) as raised:
        seconds_of(values)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_in_milliseconds_goes_all_the_way(tmp_path):
    from recsys_posttrain.data import RatingsFile, prepare

    (tmp_path / "m.csv").write_text(f"user,item,rating,ts\n1,b,3,{NOON}500\n1,a,3,{NOON}000\n")
    corpus = prepare(RatingsFile(str(tmp_path / "m.csv")), 1)
    assert corpus.sequences.timestamps_E.tolist() == [NOON, NOON]
    assert corpus.sequences.items_E.tolist() == [2, 1]  # numbered by first appearance: b, a
