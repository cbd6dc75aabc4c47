"""Vectors of items from a parquet file or a data frame, and a sentence for each that is wrong."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_posttrain.data.item_vectors import item_vectors, vector_file
from recsys_posttrain.errors import UserError

VECTORS = [[1.0, 2.0], [3.0, 4.5], [-5.0, 0.0]]


def frame(**columns):
    return pd.DataFrame({"item_id": ["a", "b", "c"], **columns})


FORMS = {
    "lists": frame(vector=VECTORS),
    "lists beside a title": frame(title=["x", "y", "z"], vector=VECTORS),
    "arrays": frame(vector=[np.array(each, dtype=np.float32) for each in VECTORS]),
    "columns": frame(f0=[1, 3, -5], f1=[2.0, 4.5, 0.0]),
    "another name": frame(f0=[1.0, 3.0, -5.0], f1=[2.0, 4.5, 0.0]).rename(
        columns={"item_id": "movieId"}
    ),
}


@pytest.mark.parametrize("given", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("from_file", [False, True])
def test_every_form_is_read(given, from_file, tmp_path):
    if from_file:
        given.to_parquet(path := tmp_path / "vectors.parquet")
    found = item_vectors(path if from_file else given)
    assert found.ids.tolist() == ["a", "b", "c"]
    assert found.vector_IF.dtype == np.float32
    assert found.vector_IF.tolist() == VECTORS


def test_lists_of_a_fixed_size_and_half_precision(tmp_path):
    flat = pa.array(np.array(VECTORS, dtype=np.float16).ravel())
    lists = pa.FixedSizeListArray.from_arrays(flat, 2)
    pq.write_table(pa.table({"item_id": [3, 4, 5], "v": lists}), tmp_path / "half.parquet")
    found = item_vectors(tmp_path / "half.parquet")
    assert found.vector_IF.tolist() == VECTORS
    assert found.ids.tolist() == [3, 4, 5]


def test_a_file_that_changes_is_read_again(tmp_path):
    path = tmp_path / "vectors.parquet"
    frame(vector=VECTORS).to_parquet(path)
    before = vector_file(str(path))
    assert vector_file(str(path)) is before
    frame(vector=[[1.0, 2.0, 3.0]] * 3).to_parquet(path)
    after = vector_file(str(path))
    assert after.vectors.width == 3
    assert after.content_hash != before.content_hash


BAD = {
    r"has no column item_id \(the columns are f0\)": pd.DataFrame({"f0": [1.0]}),
    r"has 2 columns item_id": pd.DataFrame({"iid": [1], "movie": [1], "f": [1.0]}),
    r"has no row": frame(vector=VECTORS)[:0],
    r"has 2 items more than once \('a', 'b'\)": pd.DataFrame(
        {"item_id": ["a", "b", "a", "b", "c"], "f": range(5)}
    ),
    r"row 2 has nothing": pd.DataFrame({"item_id": ["a", None], "f": [1.0, 2.0]}),
    r"has 2 columns of lists \(v, w\)": frame(v=VECTORS, w=VECTORS),
    r"v has 2 numbers for most items and another count for 1 item, such as 3 for item c": frame(
        v=[*VECTORS[:2], [1.0, 2.0, 3.0]]
    ),
    r"such as 0 for item b": frame(v=[[1.0], None, [2.0]]),
    r"the vectors of 2 items \('b', 'c'\) hold NaN": frame(f=[1.0, np.nan, np.inf]),
    r"the vectors of 1 item \('c'\) hold NaN": frame(v=[[1.0], [2.0], [None]]),
    r"the lists of the column v hold string": frame(v=[["x"], ["y"], ["z"]]),
    r"the column title has the type large_string, which is no number": frame(
        title=["x", "y", "z"], f=[1, 2, 3]
    ),
    r"has no column but item_id": frame(),
}


@pytest.mark.parametrize("sentence", BAD)
def test_what_is_wrong_is_named(sentence):
    with pytest.raises(UserError, match=sentence):
        item_vectors(BAD[sentence])


def test_vectors_of_no_number_are_named(tmp_path):
    path, empty = tmp_path / "empty.parquet", pa.array([[]], pa.list_(pa.float32()))
    pq.write_table(pa.table({"item_id": ["a"], "v": empty}), path)
    with pytest.raises(UserError, match=r"empty.parquet has vectors of 0 numbers; give 1 to"):
        item_vectors(path)


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(UserError, match=r"There is no file .*none.parquet"):
        vector_file(str(tmp_path / "none.parquet"))
    with pytest.raises(UserError, match=r"vectors.csv must be a .parquet file"):
        vector_file("vectors.csv")
    (tmp_path / "text.parquet").write_text("item_id,f\n1,2\n")
    with pytest.raises(UserError, match=r"text.parquet is not a readable parquet file"):
        vector_file(str(tmp_path / "text.parquet"))
