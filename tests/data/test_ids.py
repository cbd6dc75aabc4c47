"""What becomes of an id, by hand."""

import decimal

import pyarrow as pa
import pytest

from recsys_posttrain.data.columns import LONGEST, Column, read_ids
from recsys_posttrain.errors import UserError

WHOLE = "item is written like 28.0, read as the whole numbers they are"


def ids_of(values, kind=None):
    return read_ids(Column("mine.csv", "item", pa.chunked_array([pa.array(values, kind)]))).tolist()


READ = {
    "whole numbers": (["7", "-3"], [7, -3], None),
    "leading zeros": (["007", "7"], ["007", "7"], None),
    "floats after a join": (["28.0", "5.0"], [28, 5], WHOLE),
    "some of them": (["28.0", "28"], [28, 28], WHOLE),
    "floats of parquet": ([28.0, 5.0], [28, 5], WHOLE),
    "decimals of parquet": ([decimal.Decimal("28.00")], [28], WHOLE),
    "versions": (["28.0", "28.5"], ["28.0", "28.5"], None),
    "zeros before a float": (["007.0"], ["007.0"], None),
    "blanks": ([" 7", "8 ", "9"], [7, 8, 9], "2 values of item have blanks around them"),
    "blanks in text": (["a b", "a b "], ["a b", "a b"], "1 values of item have blanks"),
    "words for nothing": (["None", "NA", "null"], ["None", "NA", "null"], None),
    "beyond 64 bits": (["18446744073709551615"], ["18446744073709551615"], None),
    "as long as may be": (["x" * LONGEST], ["x" * LONGEST], None),
}


@pytest.mark.parametrize("case", READ)
def test_ids_that_are_read(case, capsys):
    values, expected, said = READ[case]
    assert ids_of(values) == expected
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (said is not None)
    assert said is None or said in lines[0]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.utf8())]
)
def test_every_kind_of_text(kind):
    assert ids_of(["a", "b"], kind) == ["a", "b"]
    assert ids_of(["1", "2"], kind) == [1, 2]


def test_every_size_of_whole_number_and_no_maps():
    assert ids_of([1, 255], pa.uint8()) == [1, 255]
    assert ids_of([1, 2**64 - 1], pa.uint64()) == ["1", "18446744073709551615"]
    with pytest.raises(UserError, match="type map<string, int64"):
        ids_of([[("a", 1)]], pa.map_(pa.string(), pa.int64()))


REFUSED = {
    "lists": ([[1]], "type list<item: int64>, which is not text or a whole number"),
    "structs": ([{"a": 1}], "type struct<a: int64>"),
    "bytes": ([b"a"], "type binary"),
    "truth": ([True], "type bool"),
    "nothing": (["a", None], "every event needs a value in item; row 2 has nothing"),
    "blanks": (["a", " \t"], "every event needs a value in item; row 2 has nothing"),
    "all nothing": ([None], "row 1 has nothing"),
    "a float without value": ([1.0, float("nan")], "row 2 has nothing"),
    "a fraction": ([1.0, 2.5], "ids only where all are whole and have at most 15 digits; row 2"),
    "a float with lost digits": ([1e17], "row 1 has '1e+17'"),
    "a text": (["x" * 9000], f"an id has at most {LONGEST} characters"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_ids_that_are_refused(case):
    values, sentence = REFUSED[case]
    with pytest.raises(UserError) as raised:
        ids_of(values)
    assert sentence in str(raised.value)
    assert len(str(raised.value)) < 300
