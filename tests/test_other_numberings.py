"""A saved policy and the logs of other days: what it recommends depends on the events alone.

Shuffled rows, events of other users, other names, other folders: none of them changes anything.
"""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_posttrain.data import RatingsFile
from recsys_posttrain.errors import UserError
from recsys_posttrain.live.materialize import EventRules, materialize
from recsys_posttrain.live.materialized import Materialized
from recsys_posttrain.recommendation import recommend
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.study import run_study

HERE = Path(__file__).parent
DAY1, DAY2, RESORTED = (
    pd.read_csv(HERE / "inputs" / f"log_{name}.csv") for name in ("day1", "day2", "resorted")
)
USERS = sorted(DAY1["user_id"].unique())


def trained(folder, log):
    """The policy of BC in a small study of the file, by the real command."""
    output = folder / "runs"
    study = run_study(
        HERE / "small_study.py", Options(dataset=log, seeds=1, workers=1, output=output)
    )
    stages = json.loads((study / "run.json").read_text())["stages"]
    return output / "stages" / stages["BC/0"]["folder"]


@pytest.fixture(scope="module")
def work(in_a_folder):
    """A working directory with log.csv, on which `policy` was trained by its relative path."""
    DAY1.to_csv("log.csv", index=False)
    return Path.cwd()


@pytest.fixture(scope="module")
def policy(work):
    return trained(work, "log.csv")


@pytest.fixture(scope="module")
def wanted(policy):
    """What it recommends to everybody on the day of its training."""
    frame = recommend(policy, USERS, None, 4, None)
    assert frame["user_id"].nunique() == len(USERS)
    return frame


@pytest.fixture(autouse=True)
def log_of_day1(work):
    yield
    os.chdir(work)
    DAY1.to_csv("log.csv", index=False)


def same(frame, wanted):
    columns = ["user_id", "item_id", "score", "rank"]
    one, two = (each.sort_values(["user_id", "rank"])[columns] for each in (frame, wanted))
    one, two = one.reset_index(drop=True), two.reset_index(drop=True)
    pd.testing.assert_frame_equal(one, two, rtol=1e-4, atol=1e-5, check_dtype=False)


def recommended_by_hand(events, wanted):
    """No item that the user had by then, and every one that is left of the six that are known."""
    known = set("ABCDEF")
    for user, frame in wanted.groupby("user_id"):
        had = set(events.loc[events["user_id"] == user, "item_id"]) & known
        assert not had & set(frame["item_id"])
        assert len(frame) == min(4, len(known - had))


def test_the_log_in_another_order_or_with_one_more_event(policy, wanted, work, capsys):
    """u9 chose `rare` for the fifth time: an item now, but none that the policy knows."""
    recommended_by_hand(DAY1, wanted)
    capsys.readouterr()
    for log, said in (
        (RESORTED, "left out: 4 events on 1 item"),
        (DAY2, "left out: 5 events on 1 item"),
    ):
        log.to_csv("log.csv", index=False)
        same(recommend(policy, USERS, None, 4, None), wanted)
        err = capsys.readouterr().err
        assert err.startswith("log: not what the policy was trained on (SHA-256 ")
        assert f"so items are matched by id; {said} that the policy does not know ('rare')" in err
        assert err.count("\n") == 1
    DAY1.to_csv("log.csv", index=False)
    recommend(policy, USERS, None, 4, None)
    assert capsys.readouterr().err == ""


def rows_of(log, seed, extra, stranger):
    """The rows of day 1 in another order, with the events of another user and of another item."""
    rows = [("stranger", item, 3, second) for second, item in enumerate(extra)]
    more = pd.DataFrame(rows, columns=DAY1.columns)
    parts = [more, log] if stranger else [log, more]
    return pd.concat(parts).sample(frac=1, random_state=seed)


@given(
    seed=st.integers(0, 2**31),
    extra=st.lists(
        st.sampled_from([*"ABCDEF", "rare", "new", "also new"]), max_size=6, unique=True
    ),
    name=st.sampled_from(["log.csv", "another name.csv", "deep/er/log.csv", "log.parquet"]),
    in_folder=st.booleans(),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_order_other_users_names_and_folders_change_nothing(
    policy, wanted, work, tmp_path, seed, extra, name, in_folder
):
    """By --users and --histories, in this working directory or another."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = rows_of(DAY1, seed, extra, seed % 2)
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
    os.chdir(tmp_path if in_folder else work)
    given_path = os.path.relpath(path)
    log = RatingsFile(given_path, minimum_events=1)
    same(recommend(policy, USERS, None, 4, None, source=log), wanted)
    everybody = recommend(policy, None, Path(given_path), 4, None)
    same(everybody[everybody["user_id"] != "stranger"], wanted)
    os.chdir(work)


def test_the_command_needs_no_training_file(
    policy, wanted, work, tmp_path, monkeypatch, capsys, end
):
    """It was moved: histories are enough, --log and --dataset name the new place."""
    moved = tmp_path / "moved.csv"
    Path("log.csv").rename(moved)
    monkeypatch.chdir(tmp_path)
    ask = ("recommend", policy, "--k", 4, "--output")
    for number, place in enumerate(
        (
            ("--users", ",".join(USERS), "--log", moved),
            ("--users", ",".join(USERS), "--dataset", "moved.csv"),
            ("--histories", moved),
        )
    ):
        assert end(*ask, f"{number}.csv", *place) in (0, None)
        same(pd.read_csv(f"{number}.csv"), wanted)
        assert capsys.readouterr().out == ""
    assert end(*ask, "top.csv", "--users", "u1") == 2
    assert capsys.readouterr().err == (
        f"error: the policy was trained on {work / 'log.csv'}, which is not there any more: say "
        "where its users' events are now with --log FILE or --dataset NAME\n"
    )
    for wrong, sentence in (
        (("--users", "u1", "--log", moved, "--dataset", "ml-100k"), "and not both"),
        (("--histories", moved, "--log", moved), "leave out --dataset and --log"),
    ):
        assert end(*ask, "top.csv", *wrong) == 2
        assert sentence in capsys.readouterr().err


def test_a_stage_that_another_folder_reuses(policy, work, tmp_path, monkeypatch, capsys):
    """The same study of a copy of the file, from below: nothing is made, and the policy is read by
    the place where it was trained."""
    (work / "below").mkdir(exist_ok=True)
    DAY1.to_csv(work / "below" / "log.csv", index=False)
    monkeypatch.chdir(work / "below")
    options = Options(dataset="log.csv", seeds=1, workers=1, output=work / "runs")
    run_study(HERE / "small_study.py", options)
    assert "0 built" in capsys.readouterr().out
    before = recommend(policy, ["u1"], None, 4, None)
    (work / "below" / "log.csv").unlink()
    same(recommend(policy, ["u1"], None, 4, None), before)


def test_lists_of_an_event_are_those_of_the_day_of_training(policy, work, tmp_path, capsys):
    rules = EventRules("final", "A", {"before": None, "live": 1})
    first = materialize(policy, rules, 3, tmp_path / "first")
    assert capsys.readouterr().err == ""
    lists = Materialized.open(tmp_path / "first")
    for n, log in enumerate((RESORTED, DAY2)):
        log.to_csv("log.csv", index=False)
        again = materialize(policy, rules, 3, tmp_path / str(n))
        assert again["version"] == first["version"]
        assert "items are matched by id" in capsys.readouterr().err
    moved = tmp_path / "moved.csv"
    DAY2.to_csv(moved, index=False)
    source = RatingsFile(str(moved), minimum_events=1)
    materialize(policy, rules, 3, tmp_path / "moved", source=source)
    for user in USERS:
        assert Materialized.open(tmp_path / "moved").of(user) == lists.of(user)


def test_users_without_an_item_that_it_knows(policy, tmp_path, capsys):
    """They are named and counted; where there is nobody else, that is an error."""
    rows = ("al,A,3.0,1", "bo,new,3.0,2", "bo,rare,3.0,3", "cy,new,3.0,4", "di,rare,3.0,5")
    path = tmp_path / "strangers.csv"
    path.write_text("\n".join(["user_id,item_id,rating,timestamp", *rows]) + "\n")
    found = recommend(policy, None, path, 2, None)
    assert set(found["user_id"]) == {"al"}
    assert capsys.readouterr().err == (
        "strangers: left out: 4 events on 2 items that the policy does not know ('new', 'rare'), "
        "and 3 users with no other ('bo', 'cy', 'di'); such users get no recommendation\n"
    )
    with pytest.raises(UserError, match=r"strangers: no user asked for \('cy'\) has an item"):
        recommend(policy, ["cy"], None, 2, None, source=RatingsFile(str(path)))


@pytest.mark.parametrize("rule", [None, "never", "allowed"])
def test_what_a_user_had_is_shown_where_repeats_are_allowed(policy, rule):
    """The policy's log has none, so "never" is its own rule."""
    found = recommend(policy, USERS, None, 6, None, repeats=rule)
    count = found["user_id"].value_counts()
    for user in USERS:
        known = set("ABCDEF")
        had = set(DAY1.loc[DAY1["user_id"] == user, "item_id"]) & known
        items = set(found.loc[found["user_id"] == user, "item_id"])
        assert items == (known if rule == "allowed" else known - had)
        assert count[user] == len(items)


def test_the_rule_of_the_log_travels_with_the_policy(work, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame = pd.read_csv(HERE / "inputs" / "two_items_in_turn.csv")
    frame.to_csv("turns.csv", index=False)
    policy = trained(tmp_path, "turns.csv")
    assert json.loads((policy / "policy.json").read_text())["repeats"] == "allowed"
    found = recommend(policy, ["u1"], None, 2, None)
    assert set(found["item_id"]) == {"A", "B"}
    capsys.readouterr()
    assert recommend(policy, ["u1"], None, 2, None, repeats="never").empty
    assert capsys.readouterr().err == (
        "1 user had every item that the policy may show, so nothing is left to recommend: 'u1'\n"
    )
    record = json.loads((tmp_path / "runs" / "small_study-turns" / "run.json").read_text())
    assert (record["repeats"], record["targets_unshowable"]) == ("allowed", 0)
    rows = pd.read_parquet(tmp_path / "runs" / "small_study-turns" / "rows.parquet")
    assert not np.isclose(rows.groupby("method")["ndcg@10"].mean(), 1).any()
