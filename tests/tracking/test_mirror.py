"""What W&B gets, read back with its own reader, and what it may never do to a study."""

import json
import shutil
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from study_factory import isolate_wandb

from recsys_posttrain.errors import UserError
from recsys_posttrain.report.study_folder import means_by_seed, study_folder
from recsys_posttrain.tracking import mirror as tracking
from recsys_posttrain.tracking import upload
from recsys_posttrain.tracking.entries import LEVEL, QUALITY, live_entry
from recsys_posttrain.tracking.mirror import sync, track

NOISY = "PPO, item bias 0.6"
Inspect = Callable[[str], dict[str, Any]]


@pytest.fixture(autouse=True, scope="module")
def isolated(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        isolate_wandb(patch, tmp_path_factory.mktemp("wandb"))
        yield


@pytest.fixture(scope="module")
def mirrored(drawn_study, tmp_path_factory):
    folder = shutil.copytree(drawn_study, tmp_path_factory.mktemp("mirrored") / "drawn")
    line = track(folder)
    assert "12 new runs, offline" in line  # 3 trials, 8 rows, the study
    assert f"recsys-posttrain wandb-sync {folder}" in line
    assert "0 new runs" in track(folder)
    return folder


@pytest.fixture
def inspect(mirrored, capfd, monkeypatch):
    """`wandb leet inspect --json` of the run of a name."""
    from wandb.cli.cli import cli

    monkeypatch.setenv("WANDB_MODE", "offline")  # the reader reports its use otherwise
    paths = sorted((mirrored / "wandb").glob("offline-run-*"))

    def records_of(path):
        capfd.readouterr()
        with pytest.raises(SystemExit, match="0"):
            cli.main(["leet", "inspect", "--json", str(path)])
        return [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    def inspect(name):
        for path in paths:
            records = records_of(path)
            (run,) = (record["run"] for record in records if record["type"] == "run")
            if run["display_name"] == name:
                (end,) = (record["exit"] for record in records if record["type"] == "exit")
                return run | {
                    "history": [r["history"]["item"] for r in records if r["type"] == "history"],
                    "metrics": [r["metric"] for r in records if r["type"] == "metric"],
                    "exit": end.get("exit_code", 0),
                    "path": path,
                }
        raise AssertionError(f"no run is called {name}")

    return inspect


def test_what_is_logged_equals_the_rows(mirrored, inspect):
    rows = pd.read_parquet(mirrored / "rows.parquet")
    for (method, seed), of_run in rows.groupby(["method", "seed"]):
        noise = "ItemBias-0.6" if method == NOISY else "clean"
        run = inspect(f"{method}/{noise}/{seed}")
        assert (run["run_group"], run["job_type"]) == ("drawn", "posttrain")
        for name in ("ndcg@10", "reward/proxy@10", "reward/gold@5"):
            assert run["history"][0][name] == pytest.approx(of_run[name].mean(), rel=1e-12)


def test_a_row_has_its_run_and_its_place_on_both_axes(inspect):
    noisy = inspect(f"{NOISY}/ItemBias-0.6/1")
    assert (noisy["history"][0][LEVEL], noisy["history"][0][QUALITY]) == (0.6, 0.2)
    config = noisy["config"]["update"]
    assert (config["noise"]["model"]["level"], config["seed"]) == (0.6, 1)


def test_the_study_has_its_axes_its_table_and_its_figures(mirrored, inspect):
    run = inspect("drawn")
    axes = {m["glob_name"]: m["step_metric"] for m in run["metrics"] if "glob_name" in m}
    assert axes == {"by_level/*": LEVEL, "by_quality/*": QUALITY}
    points = [item for item in run["history"] if LEVEL in item]
    assert [point[LEVEL] for point in points] == [0.0, 0.6]
    table = pd.read_csv(mirrored / "table.csv").set_index(["method", "column"])["mean"]
    drawn = [point["by_quality/model ItemBias/PPO"] for point in points]
    assert drawn == [table["PPO", "reward gold@5"], table[NOISY, "reward gold@5"]]
    media = run["path"] / "files" / "media"
    (file,) = (media / "table").glob("rows*.table.json")
    logged = json.loads(file.read_text())
    found = pd.DataFrame(logged["data"], columns=logged["columns"]).set_index(["method", "seed"])
    rows = pd.read_parquet(mirrored / "rows.parquet")
    expected = rows.groupby(["method", "seed"])["ndcg@10"].mean()
    assert found["ndcg@10"].to_dict() == pytest.approx(expected.to_dict())
    assert "user_id" not in found  # only means leave the machine
    drawn = {path.parent.name for path in media.rglob("*.html")}
    assert drawn == {"differences", "noise_against_quality", "over_optimisation", "tuning"}


def test_a_trial_is_a_run_and_a_failed_one_says_why(inspect):
    failed, done = inspect("PPO/clean/trial 1"), inspect("PPO/ItemBias 0.6/trial 0")
    assert (failed["exit"], done["exit"]) == (1, 0)
    assert failed["job_type"] == "trial"
    assert failed["history"][0]["reason"] == "the loss is not finite"
    assert done["history"][0]["value"] == 0.29
    assert done["config"]["update"]["param"] == {"temperature": 1.0}


def test_of_a_running_study_what_is_new_is_written(finished_study):
    (finished_study / "table.csv").unlink()
    trials = pd.read_csv(finished_study / "trials.csv")
    for count, new in ((2, 2), (3, 1)):
        trials[:count].to_csv(finished_study / "trials.csv", index=False)
        assert f"{new} new runs" in track(finished_study)


def test_without_rows_the_table_is_mirrored(finished_study):
    (finished_study / "rows.parquet").unlink()
    means = means_by_seed(study_folder(finished_study)).set_index("method")
    assert list(means.index) == ["Popularity", "Pretrained", "BC", "PPO"]
    table = pd.read_csv(finished_study / "table.csv").set_index(["method", "column"])["mean"]
    assert means.loc["BC", "NDCG@10 all"] == table["BC", "NDCG@10 all"]


def test_turned_off_it_writes_nothing(finished_study, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert track(finished_study) == "W&B: disabled (WANDB_MODE)"
    assert not (finished_study / "wandb").exists()
    with pytest.raises(UserError, match="WANDB_MODE=disabled"):
        sync(finished_study)


def test_no_study_to_sync_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="there is no such study"):
        sync(tmp_path / "nowhere")


def test_a_bench_of_live_delivery_is_one_run(tmp_path):
    rows = [
        {"fault": "none", "p99_ms": 12.5, "wrong_final_state": 0, "note": "calm"},
        {"fault": "redis killed", "p99_ms": None, "wrong_final_state": 3, "note": ""},
    ]
    record = {"command": "make live-bench", "machine": {"cores": 2}, "rows": rows}
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / "faults.csv").write_text("fault\nnone\nredis killed\n")
    entry = live_entry(tmp_path)
    assert (entry.name, entry.stage) == (tmp_path.name, "live")
    assert entry.config == {"command": "make live-bench", "machine": {"cores": 2}}
    assert entry.values == {
        "none/p99_ms": 12.5, "none/wrong_final_state": 0, "redis killed/wrong_final_state": 3
    }  # fmt: skip
    assert "1 new runs, offline" in track(tmp_path)
    assert "0 new runs" in sync(tmp_path)


def test_trouble_is_one_line_and_no_error(finished_study, monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("the service is ill\nand more")

    monkeypatch.setattr(tracking, "_write", refuse)
    line = track(finished_study)
    assert line.startswith("warning: W&B: RuntimeError: the service is ill; results are intact")
    assert "wandb-sync" in line
    assert "\n" not in line


def test_a_refused_key_is_said(finished_study, monkeypatch):
    (finished_study / "table.csv").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setattr(upload, "unreachable", lambda service: "")
    refusal = "import sys; print('first'); print('401: invalid key'); sys.exit(1)"
    run = upload._run
    monkeypatch.setattr(
        upload, "_run", lambda _, seconds: run([sys.executable, "-c", refusal], seconds)
    )
    assert "runs not uploaded (401: invalid key)" in track(finished_study)


def test_offline_is_kept_although_there_is_a_login(monkeypatch):
    assert not upload.is_logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    assert upload.is_logged_in()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert not upload.is_logged_in()
