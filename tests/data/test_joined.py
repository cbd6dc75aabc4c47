"""Two logs as one."""

from dataclasses import replace

import pandas as pd
import pytest

from recsys_posttrain.config import describe
from recsys_posttrain.data import JoinedLogs, RatingsFile
from recsys_posttrain.data.joined import joined, lost_columns
from recsys_posttrain.logged import Interactions
from recsys_posttrain.worlds.catalog import dataset_described

COLUMNS = ["user_id", "item_id", "rating", "timestamp"]


def log(rows, name="log", ticks=1, **columns):
    frame = pd.DataFrame(rows, columns=COLUMNS).assign(**columns)
    return Interactions(name, frame, f"hash of {name}", ticks)


def rows_of(interactions):
    return list(interactions.frame[COLUMNS].itertuples(index=False, name=None))


def test_an_event_of_both_counts_once_as_the_newer_has_it():
    old = log([("a", "x", 1.0, 10), ("a", "y", 2.0, 20)], "old")
    new = log([("a", "y", 5.0, 20), ("a", "z", 3.0, 30)], "new")
    both = joined(old, new)
    assert rows_of(both) == [("a", "x", 1.0, 10), ("a", "y", 5.0, 20), ("a", "z", 3.0, 30)]
    assert both.name == "old+new"
    assert both.content_hash not in (old.content_hash, new.content_hash)
    assert joined(new, old).content_hash != both.content_hash


def test_ids_are_alike_as_they_are_written_and_times_in_the_finer_ticks():
    old, new = log([(1, 7, 1.0, 10)], "old"), log([("1", "x", 1.0, 20 * 10**9)], "new", 10**9)
    both = joined(old, new)
    assert rows_of(both) == [("1", "7", 1.0, 10 * 10**9), ("1", "x", 1.0, 20 * 10**9)]
    assert both.seconds.tolist() == [10, 20]
    assert both.ticks_per_second == 10**9


def test_what_one_of_them_lacks_is_named_and_left_out():
    rows = [("a", "x", 1.0, 10)]
    old, new = log(rows, propensity=0.5), log(rows, **{"signal/click": 1.0, "signal/b": 0.0})
    assert lost_columns(old, new) == ["propensity", "signal/b", "signal/click"]
    assert list(joined(old, new).frame) == COLUMNS
    assert not replace(old, has_ratings=False).has_ratings
    assert not joined(replace(old, has_ratings=False), new).has_ratings


def test_impressions_of_both_stay():
    shown = pd.DataFrame([("a", "y", 10)], columns=["user_id", "item_id", "timestamp"])
    old = replace(log([("a", "x", 1.0, 10)]), shown=shown)
    new = replace(log([("a", "z", 1.0, 20)]), shown=shown.assign(timestamp=20))
    assert joined(old, new).shown["timestamp"].tolist() == [10, 20]
    assert joined(old, log([("a", "z", 1.0, 20)])).shown is None


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "monday.csv", tmp_path / "tuesday.csv"]
    for day, path in enumerate(paths):
        pd.DataFrame(
            [("a", f"x{day}", 1.0, day), ("b", "y", 2.0, 10 + day)], columns=COLUMNS
        ).to_csv(path, index=False)
    return JoinedLogs(tuple(RatingsFile(str(path), minimum_events=1) for path in paths))


def test_it_is_a_dataset_that_is_found_again_by_its_description(files):
    assert files.load().content_hash == files.content_hash()
    assert len(files.load().frame) == 4
    assert files.name == "monday+tuesday"
    assert dataset_described(describe(files), None) == files
