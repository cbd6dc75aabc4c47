"""Curves of trainings, read back with W&B's own reader: of a study that runs, that was killed, and
that ended. Its files are written here by hand."""

import json
import shutil
import threading

import pandas as pd
import pytest
from offline_reader import read
from study_factory import isolate_wandb

from recsys_posttrain.tracking import curves
from recsys_posttrain.tracking.mirror import mirror, sync

CONFIG = {"class": "Run", "algorithm": {"class": "OfflinePPO", "clip": 0.2}, "noise": None}
LINES = [
    {"step": 10, "loss": 2.5, "kl": 0.125},
    {"step": 25, "loss": 2.0, "kl": 0.25},
    {"step": 25, "validation/ndcg@10": 0.5, "validation/kl": float("nan")},
]


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    isolate_wandb(monkeypatch, tmp_path / "wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture
def killed(tmp_path):
    """A study of two runs, of which one has begun, and ended in the middle of a line."""
    folder, partial = tmp_path / "runs" / "drawn", tmp_path / "runs" / ".partial-posttrain-a"
    folder.mkdir(parents=True)
    partial.mkdir()
    text = "".join(f"{json.dumps(line)}\n" for line in LINES)
    (partial / "metrics.jsonl").write_text(text + '{"step": 30, "lo')
    runs = [{"name": "PPO", "seed": 0, "stage": "posttrain-a", "config": CONFIG}]
    runs.append({"name": "BC", "seed": 0, "stage": "posttrain-b", "config": CONFIG})
    curves.write_plan(folder, runs)
    return folder


def test_a_killed_study_has_the_curves_so_far(killed, capfd):
    assert "1 new runs, offline" in sync(killed)
    (run,) = read(killed, capfd).values()
    assert (run["display_name"], run["job_type"]) == ("PPO/clean/0", "posttrain")
    shown = [{k: v for k, v in item.items() if k[0] != "_"} for item in run["history"]]
    assert shown == [
        {"train/step": 10, "train/loss": 2.5, "train/kl": 0.125},
        {"train/step": 25, "train/loss": 2.0, "train/kl": 0.25, "train/validation/ndcg@10": 0.5},
    ]
    assert run["config"]["update"]["algorithm"] == {"class": "OfflinePPO", "clip": 0.2}
    axes = {each["glob_name"]: each["step_metric"] for each in run["axes"] if "glob_name" in each}
    assert axes["train/*"] == "train/step"
    assert "0 new runs" in sync(killed), "nothing changed"


def test_a_run_that_went_on_replaces_itself_and_the_end_has_its_results(killed, drawn_study, capfd):
    """By the id, so that what was uploaded is replaced too."""
    mirror(killed)
    (before,) = read(killed, capfd).values()
    partial = killed.parent / ".partial-posttrain-a"
    (partial / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in LINES))
    partial.rename(killed.parent / "moved")
    (killed.parent / "stages").mkdir()
    (killed.parent / "moved").rename(killed.parent / "stages" / "posttrain-a")
    with (killed.parent / "stages" / "posttrain-a" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "loss": 1.5}\n')
    assert mirror(killed)[0] == 1
    (after,) = read(killed, capfd).values()
    assert after["run_id"] == before["run_id"]
    assert after["history"][-1]["train/loss"] == 1.5

    shutil.copytree(drawn_study, killed, dirs_exist_ok=True)
    record = json.loads((killed / "run.json").read_text())
    record["stages"] = {"PPO/0": {"folder": "posttrain-a"}}
    (killed / "run.json").write_text(json.dumps(record))
    mirror(killed)
    ended = read(killed, capfd)["PPO/clean/0"]
    assert ended["run_id"] == before["run_id"]
    assert [item.get("train/loss") for item in ended["history"]] == [2.5, 2.0, 1.5, None]
    table = pd.read_csv(killed / "table.csv").set_index(["method", "column"])
    low, high = table.loc[("PPO", "NDCG@10 all"), ["low", "high"]]
    last = ended["history"][-1]
    assert (last["NDCG@10 all/low"], last["NDCG@10 all/high"]) == pytest.approx((low, high))
    assert last["ndcg@10"] > 0


def test_without_a_plan_or_with_a_damaged_one_there_is_nothing(tmp_path):
    assert curves.planned(tmp_path) == []
    for text in ("", "[]", '{"runs": 3}', '{"runs": [4]}'):
        (tmp_path / "plan.json").write_text(text)
        assert curves.planned(tmp_path) == []


def test_it_is_looked_at_while_the_block_runs_and_not_after(monkeypatch):
    monkeypatch.setattr(curves, "SECONDS", 0.001)
    looks, seen = [], threading.Event()

    def look():
        looks.append(threading.current_thread())
        if len(looks) == 3:
            seen.set()

    with curves.streamed(look):
        assert seen.wait(20)
    count = len(looks)
    assert not looks[0].is_alive()
    assert len(looks) == count
