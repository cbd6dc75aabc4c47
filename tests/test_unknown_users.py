"""Users of whom the policy knows no item: named, and given what is popular, or nothing."""

import json

import pandas as pd
import pytest

import recsys_posttrain as rp
from recsys_posttrain.errors import UserError
from recsys_posttrain.recommendation import recommend


@pytest.fixture
def popular(small_ratings_csv):
    """Ids by their number of events, and those counts."""
    return pd.read_csv(small_ratings_csv)["item_id"].value_counts()


def of(frame, user):
    return frame[frame["user_id"].astype(str) == user]


def test_who_is_new_gets_the_most_popular_items(policy_folder, popular, capsys):
    before = recommend(policy_folder, ["7", "3"], None, 4, None)
    capsys.readouterr()
    found = recommend(
        policy_folder, ["7", "new", "3", "x"], None, 4, None, unknown_users="popularity"
    )
    said = capsys.readouterr().err
    assert "2 users without an item that the policy knows get the most popular items" in said
    assert "items ('new', 'x')" in said
    assert list(dict.fromkeys(found["user_id"].astype(str))) == ["7", "new", "3", "x"]
    for user in ("7", "3"):
        assert of(found, user)["item_id"].tolist() == of(before, user)["item_id"].tolist()
    for user in ("new", "x"):
        counts = popular[of(found, user)["item_id"]].tolist()
        assert counts == popular.head(4).tolist()
        assert of(found, user)["rank"].tolist() == [1, 2, 3, 4]


def test_who_is_new_gets_nothing_where_that_is_asked_for(policy_folder, capsys):
    found = recommend(policy_folder, ["7", "new"], None, 4, None, unknown_users="nothing")
    assert set(found["user_id"].astype(str)) == {"7"}
    said = capsys.readouterr().err
    assert "1 user without an item that the policy knows get no recommendation ('new')" in said
    with pytest.raises(UserError, match="no user 'new'"):
        recommend(policy_folder, ["7", "new"], None, 4, None)
    with pytest.raises(UserError, match=r"no user asked for \('new'\) has an item"):
        recommend(policy_folder, ["new"], None, 4, None, unknown_users="nothing")


def test_only_new_users_and_a_file_of_histories(policy_folder, popular, tmp_path):
    found = recommend(policy_folder, ["new"], None, 3, None, unknown_users="popularity")
    assert popular[found["item_id"]].tolist() == popular.head(3).tolist()
    rows = [("al", 3, 5.0, 1), ("cy", 999, 5.0, 1)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    frame.to_csv(tmp_path / "file.csv", index=False)
    file = tmp_path / "file.csv"
    found = recommend(policy_folder, None, file, 3, None, unknown_users="popularity")
    assert popular[of(found, "cy")["item_id"]].tolist() == popular.head(3).tolist()
    assert len(of(found, "al")) == 3


def test_a_policy_in_memory_takes_what_is_popular_in_the_histories(small_ratings_csv, popular):
    data = rp.load(str(small_ratings_csv), split=rp.LeaveOneOut(minimum_item_ratings=1))
    policy, _ = rp.pretrain(data, rp.SASRec(dim=8, blocks=1), rp.Training(steps=1))
    found = rp.recommend(policy, data, k=3, users=["new", 7], unknown_users="popularity")
    assert popular[of(found, "new")["item_id"]].tolist() == popular.head(3).tolist()
    assert set(rp.recommend(policy, data, 3, ["new", 7], unknown_users="nothing")["user_id"]) == {7}


def test_a_card_without_counts_or_with_wrong_ones(policy_folder):
    path = policy_folder / "policy.json"
    card = json.loads(path.read_text())
    for counts in ([1, 2], "many", [-1] * len(card["item_ids"])):
        path.write_text(json.dumps(card | {"events": counts}))
        with pytest.raises(UserError, match="events is no list of counts of its items"):
            recommend(policy_folder, ["7"], None, 3, None)
    del card["events"]
    path.write_text(json.dumps(card))
    assert len(recommend(policy_folder, ["7"], None, 3, None)) == 3
    with pytest.raises(UserError, match=r"saved by a version that did not keep how often"):
        recommend(policy_folder, ["new"], None, 3, None, unknown_users="popularity")
