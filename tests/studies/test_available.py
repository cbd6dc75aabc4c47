"""Windows of items in a study, in what it saves, and in what is recommended at a date."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recsys_posttrain.models.checkpoint import load_policy
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.study import run_study

STUDY = Path(__file__).parents[1] / "small_study.py"


@pytest.fixture(scope="module")
def studied(tmp_path_factory, small_ratings_csv):
    """A third of the items in the earlier half of the log, another in the later one."""
    log = pd.read_csv(small_ratings_csv)
    middle = int(log["timestamp"].median())
    items = sorted(log["item_id"].unique())
    rows = [(item, "", middle) if item % 3 == 0 else (item, middle, "") for item in items]
    rows = [row for row in rows if row[0] % 3 < 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        frame = pd.DataFrame(rows, columns=["item_id", "from", "until"])
        frame.to_csv("windows.csv", index=False)
        always = frame.assign(**{"from": "", "until": middle * 10})
        always.to_csv("always.csv", index=False)
        options = Options(("available=windows.csv",), str(small_ratings_csv), 1, workers=1)
        yield run_study(STUDY, options), log, middle


def closed(item, time, middle):
    return (item % 3 == 0 and time >= middle) or (item % 3 == 1 and time < middle)


def setup_of(csv, **changes):
    study = load_study(STUDY, (), str(csv), seeds=1, data_root=None)
    return replace(study.runs[0].setup, **changes)


def test_lists_hold_what_is_open_at_the_targets_time(studied, small_ratings_csv):
    folder, log, middle = studied
    rows = pd.read_parquet(folder / "rows.parquet")
    ids = load_policy(next(Path("runs/stages").glob("pretrain-*"))).item_ids
    last = log.sort_values("timestamp", kind="stable").groupby("user_id").last()
    kept = {
        user
        for user, row in last.iterrows()
        if not closed(row["item_id"], row["timestamp"], middle)
    }
    assert 0 < len(kept) < 60
    assert set(rows["user_id"]) == kept
    assert json.loads((folder / "run.json").read_text())["targets_never_shown"] == 60 - len(kept)
    for row in rows.itertuples():
        time = last.loc[row.user_id, "timestamp"]
        shown = [ids[number - 1] for number in row.top50 if number > 0]
        assert len(shown) > 5
        assert not any(closed(item, time, middle) for item in shown)


def test_ranks_are_among_what_is_open(studied, small_ratings_csv):
    """By a loop over one saved policy."""
    _, _, middle = studied
    pipeline = Pipeline(setup_of(small_ratings_csv, available="windows.csv"), Path("runs"))
    saved, targets = load_policy(pipeline.pretrain()), pipeline.data.test
    hidden_ND = saved.policy.last_hidden_states(targets.history, targets.times_N)
    score_NV = hidden_ND @ saved.policy.item_embedding_VD.detach().T
    found = pipeline.evaluate(pipeline.pretrain()).set_index("user_id")["rank"]
    asked = (each.tolist() for each in (targets.users_N, targets.items_N, targets.times_N))
    for n, (user, item, time) in enumerate(zip(*asked, strict=True)):
        start, stop = targets.history.offsets_N1[n : n + 2].tolist()
        had = set(targets.history.items_E[start:stop].tolist())
        rivals = [
            v
            for v in range(1, len(saved.item_ids) + 1)
            if v != item and v not in had and not closed(saved.item_ids[v - 1], time, middle)
        ]
        scores = score_NV[n]
        wanted = 1 + sum(bool(scores[v - 1] > scores[item - 1]) for v in rivals)
        assert found[pipeline.data.corpus.user_ids[user]] == wanted


def test_a_saved_policy_obeys_at_a_date(studied, end):
    _, log, middle = studied
    for folder in sorted(Path("runs/stages").glob("*train-*")):
        for time in (middle - 1, middle):
            at = str(np.datetime64(time, "s"))
            words = ("--histories", "log.csv", "--k", 40, "--output", "top.csv", "--at", at)
            log.to_csv("log.csv", index=False)
            assert end("recommend", folder, *words) == 0
            shown = pd.read_csv("top.csv")
            assert shown["item_id"].nunique() > 15
            assert not any(closed(item, time, middle) for item in shown["item_id"])
    assert end("recommend", folder, "--histories", "log.csv", "--output", "top.csv") == 0
    assert (pd.read_csv("top.csv")["item_id"] % 3 > 0).all(), "now is late"


def test_a_date_that_is_none_is_one_sentence(studied, end, capsys):
    folder = next(Path("runs/stages").glob("pretrain-*"))
    _, log, _ = studied
    log.to_csv("log.csv", index=False)
    assert end("recommend", folder, "--histories", "log.csv", "--at", "soon") == 2
    assert "--at soon: give a date such as 2024-01-31" in capsys.readouterr().err
    card = json.loads((folder / "policy.json").read_text())
    plain = Path("plain")
    plain.mkdir(exist_ok=True)
    for name in ("policy.safetensors", "source.json"):
        (plain / name).write_bytes((folder / name).read_bytes())
    for windows, says in (
        ([], "has no windows of items"),
        ([["none", 1, 2]], "no list of windows"),
    ):
        (plain / "policy.json").write_text(json.dumps(card | {"available": windows}))
        assert end("recommend", plain, "--histories", "log.csv", "--at", "2024-01-01") == 2
        assert says in capsys.readouterr().err


def test_windows_that_never_close_change_no_number(studied, small_ratings_csv):
    plain, always = (
        Pipeline(setup_of(small_ratings_csv, available=each), Path("runs"))
        for each in ("", "always.csv")
    )
    assert plain.keys.pretrain.folder != always.keys.pretrain.folder
    assert plain.rewards.train() == always.rewards.train()
    policies = [load_policy(each.pretrain()).policy for each in (plain, always)]
    for name, value in policies[0].state_dict().items():
        assert torch.equal(value, policies[1].state_dict()[name]), name
    frames = [each.evaluate(each.pretrain()) for each in (plain, always)]
    pd.testing.assert_frame_equal(*frames)
