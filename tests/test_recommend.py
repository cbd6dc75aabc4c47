"""Recommendations against a sort per user, from the ratings file itself."""

import numpy as np
import pandas as pd
import pytest
from data_factory import unseen_by_sorting

from recsys_posttrain.errors import UserError
from recsys_posttrain.recommendation import recommend


def expected(policy_folder, frame, k):
    """For each user of a frame of events: (user, item, score, rank)."""
    return [
        (user, item, score, rank)
        for user, best in unseen_by_sorting(policy_folder, frame).items()
        for rank, (item, score) in enumerate(best[:k], start=1)
    ]


def assert_same(frame, rows):
    assert list(frame.columns) == ["user_id", "item_id", "score", "rank"]
    assert [tuple(row) for row in frame[["user_id", "item_id", "rank"]].to_numpy()] == [
        (user, item, rank) for user, item, _, rank in rows
    ]
    np.testing.assert_allclose(frame["score"], [row[2] for row in rows], rtol=1e-5, atol=1e-6)


def test_users_of_the_dataset_get_unseen_items_best_first(policy_folder, small_ratings_csv, capsys):
    events = pd.read_csv(small_ratings_csv)
    chosen = recommend(policy_folder, ["7", "3"], None, 4, None)
    asked = events[events["user_id"].isin([3, 7])]
    rows = expected(policy_folder, asked, 4)
    assert_same(chosen, rows[4:] + rows[:4])  # in the order they were asked for
    assert len(chosen) == 8
    everybody = recommend(policy_folder, None, None, 4, None)
    assert everybody["user_id"].nunique() == 60
    pd.testing.assert_frame_equal(
        everybody[everybody["user_id"] == 7].reset_index(drop=True), chosen[:4]
    )
    printed = capsys.readouterr().out
    assert "user_id" in printed
    assert "rank" in printed


def test_users_of_a_file_get_unseen_items_and_unknown_items_are_left_out(policy_folder, tmp_path):
    """Its events are out of order, and the last user knows only strange items."""
    frame = pd.DataFrame(
        {
            "user_id": ["bo", "al", "al", "bo", "al", "cy", "cy"],
            "item_id": [4, 9, 2, 999, 11, 998, 999],
            "rating": [5.0, 1, 3, 2, 4, 5, 5],
            "timestamp": [10, 30, 20, 11, 10, 1, 2],
        }
    )
    path = tmp_path / "histories.csv"
    frame.to_csv(path, index=False)
    chosen = recommend(policy_folder, None, path, 5, None)
    assert_same(chosen, expected(policy_folder, frame[frame["user_id"] != "cy"], 5))
    assert set(chosen["user_id"]) == {"al", "bo"}
    alone = recommend(policy_folder, None, path, 40, None)
    # 40 items: al has seen three of them and bo one.
    assert alone["user_id"].value_counts().to_dict() == {"al": 37, "bo": 39}
    for _, rank in alone.groupby("user_id")["rank"]:
        assert rank.tolist() == [*range(1, len(rank) + 1)]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_written_as_csv_or_parquet(policy_folder, tmp_path, suffix, capsys):
    path = tmp_path / f"top.{suffix}"
    assert recommend(policy_folder, ["1", "2"], None, 3, path) is None
    assert capsys.readouterr().out == ""
    frame = recommend(policy_folder, ["1", "2"], None, 3, None)
    read = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
    pd.testing.assert_frame_equal(read, frame, check_dtype=suffix == "parquet")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_mistakes_are_one_sentence_each(policy_folder, tmp_path):
    with pytest.raises(UserError, match=r"small has no user '61' \(it has 60, for example '"):
        recommend(policy_folder, ["1", "61"], None, 3, None)
    with pytest.raises(UserError, match="--users names nobody"):
        recommend(policy_folder, [], None, 3, None)
    strange = tmp_path / "strange.csv"
    strange.write_text("user_id,item_id,rating,timestamp\n1,a,5,1\n1,b,5,2\n")
    with pytest.raises(UserError, match=r"strange: none of its items is known.*item ids such"):
        recommend(policy_folder, None, strange, 3, None)
    with pytest.raises(UserError, match=r"top.txt: the name must end in .csv or .parquet"):
        recommend(policy_folder, ["1"], None, 3, tmp_path / "top.txt")
    with pytest.raises(UserError, match="k is 41, but the catalogue has 40 items"):
        recommend(policy_folder, ["1"], None, 41, None)
    with pytest.raises(UserError, match=r"policy.json does not exist"):
        recommend(tmp_path, ["1"], None, 3, None)
    assert [each.name for each in tmp_path.iterdir()] == ["strange.csv"]


def test_one_event_is_history_enough(policy_folder, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("user_id,item_id,rating,timestamp\n1,4,5,1\n")
    frame = recommend(policy_folder, None, path, 3, None)
    assert frame["rank"].tolist() == [1, 2, 3]
