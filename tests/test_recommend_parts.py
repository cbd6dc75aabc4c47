"""A large parquet log is read in parts: the same lists, notes and errors as of the whole file."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_posttrain.config import describe
from recsys_posttrain.data import RatingsFile, parts
from recsys_posttrain.errors import UserError
from recsys_posttrain.export import Targets, export
from recsys_posttrain.histories import read_alike
from recsys_posttrain.recommendation import recommend, writing

COLUMNS = "user=uid,item=vid"


@pytest.fixture
def frame(small_ratings_csv):
    """60 users with text ids, the rows of each together but the users in no order; two users know
    only strange items."""
    frame = pd.read_csv(small_ratings_csv).rename(columns={"user_id": "uid", "item_id": "vid"})
    order = np.random.default_rng(0).permutation(frame["uid"].unique())
    frame = pd.concat([frame[frame["uid"] == user] for user in order], ignore_index=True)
    frame.loc[frame["uid"].isin(order[[20, 40]]), "vid"] += 900
    frame["uid"] = frame["uid"].astype("str").where(frame["uid"] != order[50], "n/o one")
    return frame


@pytest.fixture
def both(frame, policy_folder, tmp_path, monkeypatch, capsys):
    """(lists, what is said) of the whole file, and of it in parts of about 100 rows."""

    def ask(frame):
        path, answers = tmp_path / "log.parquet", []
        frame.to_parquet(path, row_group_size=70)
        for rows in (10**6, 100):
            monkeypatch.setattr(parts, "PART_ROWS", rows)
            recommend(policy_folder, None, path, 5, tmp_path / "top.parquet", columns=COLUMNS)
            answers.append((pd.read_parquet(tmp_path / "top.parquet"), capsys.readouterr().err))
        return answers

    return ask


def test_the_same_lists_in_the_order_of_the_file(both, frame, tmp_path):
    (whole, said), (in_parts, said_in_parts) = both(frame)
    assert pq.ParquetFile(tmp_path / "top.parquet").num_row_groups > 5
    assert len(whole) == 58 * 5
    assert in_parts["user_id"].unique().tolist() == [
        user for user in frame["uid"].unique() if user in set(whole["user_id"])
    ]
    by = ["user_id", "rank"]
    both_sorted = (each.sort_values(by, ignore_index=True) for each in (whole, in_parts))
    pd.testing.assert_frame_equal(*both_sorted, rtol=1e-5)
    assert "and 2 users with no other" in said
    assert said.splitlines()[-1] == said_in_parts.splitlines()[-1]


def test_notes_are_said_once_with_their_counts_added(both, frame):
    blanks = frame.assign(
        vid=" " + frame["vid"].astype("str"), timestamp=(10**9 + frame["timestamp"]) * 1000
    )
    (_, said), (_, said_in_parts) = both(blanks.drop(columns="rating"))
    assert sorted(said.splitlines()) == sorted(said_in_parts.splitlines())
    assert f"{len(frame):,} values of vid have blanks around them" in said
    assert "is in milliseconds, from " in said
    assert "every event has the rating 1" in said


def test_rows_that_stand_apart_are_read_whole_and_that_is_said(both, frame):
    last_first = pd.concat([frame.tail(1), frame.head(-1)], ignore_index=True)
    (whole, _), (again, said) = both(last_first)
    pd.testing.assert_frame_equal(whole, again)
    assert f"rows of a user stand apart, so all {len(frame):,} are held in memory" in said


def test_a_bad_row_is_named_by_its_place_in_the_file_and_nothing_is_written(
    both, frame, policy_folder, tmp_path, monkeypatch
):
    frame = frame.astype({"timestamp": "float64"})
    frame.loc[777, "timestamp"] = -5e20
    with pytest.raises(UserError, match=r"log.parquet: the timestamp .*; row 778 has '-5e\+20'"):
        both(frame)
    monkeypatch.setattr(parts, "PART_ROWS", 100)
    with pytest.raises(UserError, match=r"log.parquet: the timestamp .*; row 778 has '-5e\+20'"):
        recommend(
            policy_folder, None, tmp_path / "log.parquet", 5, tmp_path / "a.csv", columns=COLUMNS
        )
    assert [each.name for each in tmp_path.iterdir()] == ["log.parquet"]


def test_several_files_are_one_log(frame, policy_folder, tmp_path, monkeypatch, capsys):
    """A user's rows may go on in the next file."""
    monkeypatch.setattr(parts, "PART_ROWS", 100)
    frame.to_parquet(tmp_path / "one.parquet")
    (tmp_path / "days").mkdir()
    for part, rows in enumerate(np.array_split(np.arange(len(frame)), 3)):
        frame.iloc[rows].to_parquet(tmp_path / "days" / f"{part}.parquet")
    for log in ("one.parquet", "days"):
        output = tmp_path / f"{log}.csv"
        recommend(policy_folder, None, tmp_path / log, 5, output, columns=COLUMNS)
    one, days = (pd.read_csv(tmp_path / name) for name in ("one.parquet.csv", "days.csv"))
    pd.testing.assert_frame_equal(one, days, rtol=1e-5)
    export(
        policy_folder,
        Targets(states=tmp_path / "states.parquet"),
        histories=tmp_path / "days",
        columns=COLUMNS,
    )
    states = pd.read_parquet(tmp_path / "states.parquet")
    assert (
        states["user_id"].tolist() == pd.read_csv(output, dtype="str")["user_id"].unique().tolist()
    )


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "top.parquet"
    path.write_text("before")

    def write():
        with writing(path) as add:
            for name in "ab":
                add(pa.table({name: [1]}))

    with pytest.raises(ValueError, match="schema does not match"):
        write()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_its_own_file_is_read_by_all_of_its_rules_and_another_by_those_it_needs(tmp_path):
    """Otherwise the very file would be called another one, or refused for its duplicates."""
    rows = "who,item_id,stars,timestamp,thumbs\n1,2,3,1000,1\n1,2,4,1000,0\n1,3,5,2000,1\n"
    for name in ("own", "other"):
        (tmp_path / f"{name}.csv").write_text(rows + ("2,2,1,3000,1\n" if name == "other" else ""))
    rules = {"signals": "thumbs", "duplicates": "first", "reward": "stars", "columns": "user=who"}
    own = RatingsFile(str(tmp_path / "own.csv"), **rules)
    saved = SimpleNamespace(source=describe(own), content_hash=own.content_hash())
    assert read_alike(saved, RatingsFile(own.path)) == own
    other = RatingsFile(str(tmp_path / "other.csv"))
    found = read_alike(saved, other)
    assert (found.reward, found.columns) == ("stars", "user=who")
    assert (found.signals, found.duplicates) == ("", "refuse")
