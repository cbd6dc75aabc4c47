"""A sweep in W&B: while it runs, killed, and at its end."""

import json
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
from offline_reader import curve, read
from study_factory import isolate_wandb

from recsys_posttrain.sweep.objective import Objective
from recsys_posttrain.sweep.run import run_sweep
from recsys_posttrain.tracking import curves
from recsys_posttrain.tracking.mirror import sync

SMALL_SWEEP = Path(__file__).resolve().parents[1] / "small_sweep.py"
NAME = "small_sweep-small"


def key_of(root, stage):
    return json.loads((root / "stages" / stage / "stage.json").read_text())["key"]


def losses_of(root, stage):
    lines = (root / "stages" / stage / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return {line["step"]: line["loss"] for line in found if "loss" in line}


def logged(run):
    return {each["train/step"]: each["train/loss"] for each in curve(run) if "train/loss" in each}


def test_each_trial_names_the_stage_that_has_its_settings(finished):
    """As the stage itself says."""
    trials = pd.read_csv(finished / NAME / "trials.csv")
    assert trials["stage"].is_unique
    for trial in trials.to_dict("records"):
        key = key_of(finished, trial["stage"])
        assert key["algorithm"]["class"] == trial["algorithm"]
        rate = trial["param.posttraining.learning_rate"]
        assert (key["training"]["learning_rate"], key["seed"]) == (rate, 100)
    assert not (finished / NAME / "trials-so-far.csv").exists()


def test_a_sweep_is_mirrored_while_it_runs_when_killed_and_at_its_end(
    finished, options, tmp_path, monkeypatch, capfd
):
    isolate_wandb(monkeypatch, tmp_path / "own")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(curves, "SECONDS", 0.2)
    root = tmp_path / "runs"
    shutil.copytree(finished / "stages", root / "stages")
    for path in (root / "stages").glob("posttrain-*"):
        shutil.rmtree(path)
    original, calls = Objective.trial, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            deadline = time.monotonic() + 100
            while len(list((root / NAME / "wandb").glob("*/recsys-posttrain.json"))) < 2:
                assert time.monotonic() < deadline, "nothing is mirrored while it runs"
                time.sleep(0.1)
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(Objective, "trial", interrupted)
    options = options._replace(output=root)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(SMALL_SWEEP, options)
    assert sync(root / NAME).startswith("W&B: ")
    killed = read(root / NAME, capfd)
    assert sorted(killed) == [f"BC/clean/trial {number}" for number in range(3)]
    assert [bool(logged(run)) for _, run in sorted(killed.items())] == [True, True, False]
    assert killed["BC/clean/trial 2"]["history"][-1]["state"] == "running"

    run_sweep(SMALL_SWEEP, options)
    sync(root / NAME)
    ended = read(root / NAME, capfd)
    trials = pd.read_csv(root / NAME / "trials.csv", keep_default_na=False)
    for trial in trials.to_dict("records"):
        name = f"{trial['algorithm']}/{trial['noise'] or 'clean'}/trial {trial['trial']}"
        assert logged(ended[name]) == losses_of(root, trial["stage"])
        assert ended[name]["history"][-1]["value"] == pytest.approx(trial["value"], rel=1e-12)
    for number in range(2):
        name = f"BC/clean/trial {number}"
        assert ended[name]["path"] == killed[name]["path"], "written once"
    record = json.loads((root / NAME / "run.json").read_text())
    rows = [run for run in ended.values() if run["job_type"] == "posttrain" and logged(run)]
    final = [name for name, setting in record["sweep"]["chosen"].items() if setting]
    assert len(rows) >= 2 * len(final) > 0  # the two seeds of each, and the baselines
