"""Rows that are there twice, found without what pandas would make of three whole columns."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_posttrain.data.table_file import EVENT, RatingsFile, repeated_events

IDS = st.sampled_from(["a", "b", "c", "0", "00"])
ROWS = st.lists(st.tuples(IDS, IDS, st.integers(0, 2)), min_size=1, max_size=40)


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, keep=st.sampled_from(["first", "last"]), numbers=st.booleans())
def test_they_are_those_of_pandas(rows, keep, numbers):
    frame = pd.DataFrame(rows, columns=EVENT)
    if numbers:
        frame["user_id"] = frame["user_id"].map({"a": 7, "b": -3, "c": 2**60, "0": 0, "00": 1})
    before = frame.copy()
    found = repeated_events(frame, keep)
    assert found.tolist() == frame.duplicated(EVENT, keep=keep).tolist()
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("users", [1, 50])
def test_in_a_file_of_many(users, tmp_path):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "user_id": generator.integers(0, users, 3000),
            "item_id": generator.integers(0, 40, 3000),
            "rating": generator.integers(1, 6, 3000),
            "timestamp": 1_600_000_000 + generator.integers(0, 30, 3000),
        }
    )
    frame.to_csv(tmp_path / "log.csv", index=False)
    for rule in ("first", "last"):
        kept = RatingsFile(str(tmp_path / "log.csv"), duplicates=rule).load().frame
        expected = frame.drop_duplicates(EVENT, keep=rule).reset_index(drop=True)
        assert kept["rating"].tolist() == expected["rating"].tolist()
        assert kept[EVENT].astype("int64").equals(expected[EVENT])
