"""A log of one's own, from `run` to the table: its columns named, its reward a formula, and signals
that losses and the table read."""

import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from recsys_posttrain.cli import app
from recsys_posttrain.errors import UserError
from recsys_posttrain.recommendation import recommend

STUDY = Path(__file__).parents[1] / "signals_study.py"
REWARD = "thumbs + 0.5*completion - 0.25*'gave up'"
RULES = ["--columns", "user=who,item=what,timestamp=at", "--reward", REWARD]
SIGNALS = ["--signals", "click,seconds=60*completion"]


def written(path):
    """24 people with names, milliseconds, four numbers of each event."""
    generator = np.random.default_rng(10)
    who_E = np.repeat(np.arange(24), 7)
    completion_E = generator.integers(0, 11, len(who_E)) / 10
    frame = pd.DataFrame(
        {
            "who": [f"person {n}" for n in who_E],
            "what": [f"title {n}" for _ in range(24) for n in generator.permutation(20)[:7]],
            "at": 1_700_000_000_000 + 60_000 * np.arange(len(who_E)) + 7,
            "thumbs": generator.integers(-1, 2, len(who_E)),
            "completion": completion_E,
            "gave up": (completion_E < 0.3).astype(int),
            "click": generator.integers(0, 2, len(who_E)),
        }
    )
    frame.to_csv(path, index=False)
    return frame


def command(*words):
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        yield


@pytest.fixture(scope="module")
def log(work):
    return written("log.csv")


@pytest.fixture(scope="module")
def folder(log):
    words = ["--dataset", "log.csv", "--seeds", 1, "--workers", 1, *RULES, *SIGNALS]
    done = command("run", STUDY, *words)
    assert done.exit_code == 0, done.output
    (found,) = Path("runs").glob("signals_study-log-*")
    return found


def test_rows_have_the_reward_and_the_signals_of_their_targets(folder, log):
    """Leave-one-out: everybody's last event."""
    rows = pd.read_parquet(folder / "rows.parquet")
    last = log.groupby("who", sort=False).last()
    reward = last["thumbs"] + 0.5 * last["completion"] - 0.25 * last["gave up"]
    assert set(rows["method"]) == {"Popularity", "Pretrained", "BC", "ASFT(click)"}
    for _, each in rows.groupby("method"):
        each = each.set_index("user_id").loc[last.index]
        np.testing.assert_allclose(each["reward"], reward, atol=1e-6)
        np.testing.assert_allclose(each["signal/click"], last["click"], atol=1e-6)
        np.testing.assert_allclose(each["signal/seconds"], 60 * last["completion"], atol=1e-5)


def test_the_table_weights_by_each_signal(folder):
    rows = pd.read_parquet(folder / "rows.parquet")
    table = pd.read_csv(folder / "table.csv")
    for name in ("click", "seconds"):
        column = table[(table["column"] == f"NDCG@10 by {name}")].set_index("method")
        for method, each in rows.groupby("method"):
            expected = np.average(each["ndcg@10"], weights=each[f"signal/{name}"])
            assert column.loc[method, "mean"] == pytest.approx(expected, abs=1e-9)
    text = (folder / "table.md").read_text()
    assert "NDCG@10 by click, by seconds: over all targets, each weighted by that signal." in text


def test_what_the_study_is_of_is_recorded(folder):
    record = json.loads((folder / "run.json").read_text())
    assert record["reward"] == REWARD
    words = shlex.split(record["command"])
    assert words[-6:] == [*RULES[2:], *SIGNALS, *RULES[:2]]
    text = (folder / "table.md").read_text().replace("\\", "")
    assert f"log, reward {REWARD}, leave-one-out" in text
    assert record["left_out"] == {
        "ASFT(share)": "the log has no signal 'share' (it has click, seconds); name its column "
        "with --signals share"
    }


def test_another_formula_is_another_study(folder):
    """Whose stages are all its own, and whose folder too."""
    before = set(Path("runs/stages").iterdir())
    words = ["--dataset", "log.csv", "--seeds", 1, "--workers", 1, *RULES[:2], *SIGNALS]
    done = command("run", STUDY, *words, "--reward", "completion")
    assert done.exit_code == 0
    assert "0 stages reused" in done.output
    assert len(list(Path("runs").glob("signals_study-log-*"))) == 2
    assert len(set(Path("runs/stages").iterdir()) - before) == len(before)


def test_the_policy_reads_other_logs_alike(folder, log):
    """Of the next day, in another order and with a title more; no options are repeated."""
    record = json.loads((folder / "run.json").read_text())
    policy = Path("runs/stages") / record["stages"]["BC/0"]["folder"]
    users = ["person 3", "person 5"]
    own = recommend(policy, users, None, 4, None)
    again = pd.concat([log, log.tail(1).assign(who="new", what="new")])
    again.sample(frac=1, random_state=0).to_csv("tomorrow.csv", index=False)
    from recsys_posttrain.worlds.catalog import log_or_dataset

    found = recommend(
        policy, users, None, 4, None, source=log_or_dataset(Path("tomorrow.csv"), None, None)
    )
    pd.testing.assert_frame_equal(found, own)
    log[log["who"] == "person 3"].to_csv("histories.csv", index=False)
    found = recommend(policy, None, Path("histories.csv"), 4, None)
    pd.testing.assert_frame_equal(found, own[own["user_id"] == "person 3"])
    log.drop(columns="thumbs").to_csv("less.csv", index=False)
    with pytest.raises(UserError, match=r"less.csv has no column 'thumbs' for a formula to read"):
        recommend(policy, None, Path("less.csv"), 4, None)


def test_the_audit_names_what_nothing_reads(log):
    done = command("data", "audit", "log.csv", *RULES[:2], "--reward", "thumbs", *SIGNALS)
    assert done.exit_code == 0
    assert "numeric columns that are not read: gave up; take them with --reward or" in done.output
    assert "signal seconds: 0 to 60, mean" in done.output
    assert "rewards: -1 to 1 in steps of 1" in done.output
    done = command("data", "fetch", "log.csv", *RULES)
    assert done.exit_code == 0


def test_a_study_whose_every_method_lacks_its_signal(work):
    written("few.csv")
    Path("only.py").write_text("from signals_study import *\nRUNS = RUNS[2:]")
    done = command("run", "only.py", "--dataset", "few.csv", *RULES)
    assert isinstance(done.exception, UserError)
    assert str(done.exception) == (
        "only.py: none of its methods can be run on few: ASFT(share) (the log has no signal "
        "'share' (it has none); name its column with --signals share); add BC or another that "
        "reads no rewards."
    )
