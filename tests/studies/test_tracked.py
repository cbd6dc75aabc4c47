"""A grid in W&B: each policy among which it chooses, with its curve and what it is worth."""

import json
from pathlib import Path

import pandas as pd
import pytest
from offline_reader import curve, read
from study_factory import isolate_wandb

from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.tracking.mirror import mirror, sync

STUDY = (Path(__file__).parents[1] / "small_study.py").read_text(encoding="utf-8")
GRID = """
from recsys_posttrain.rewards.noise import ItemBias, RewardNoise
TRIED = [
    replace(BASE, algorithm=ExpRSFT(temperature=t), strength=f"temperature {t}") for t in (0.5, 2.0)
]
RUNS = [BASE, *TRIED, replace(TRIED[0], noise=RewardNoise(log=ItemBias(1.0)))]
def NEXT_RUNS(runs, tried, validation):
    return [run for run in runs if run.noise == RewardNoise()] if not tried else runs
"""
TITLES = ["BC", "ExpRSFT, temperature 0.5", "ExpRSFT, temperature 2.0"]
NOISY = "ExpRSFT, temperature 0.5, ItemBias 1 in the log"


@pytest.fixture
def grid(run, tmp_path, monkeypatch):
    isolate_wandb(monkeypatch, tmp_path / "own")
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "grid.py").write_text(STUDY + GRID)
    return lambda: run(tmp_path / "runs", file=tmp_path / "grid.py", seeds=2)


def policies(folder, capfd):
    return {name: each for name, each in read(folder, capfd).items() if each["job_type"] == "trial"}


def losses(folder, stage):
    text = (folder.parent / "stages" / stage / "metrics.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    return {line["step"]: line["loss"] for line in found if "loss" in line}


def logged(run):
    return {each["train/step"]: each["train/loss"] for each in curve(run) if "train/loss" in each}


def test_each_policy_has_its_curve_and_its_worth_also_of_an_earlier_round(grid, capfd):
    folder = grid()
    found = policies(folder, capfd)
    names = {f"{title}/{seed}" for title in [*TITLES, NOISY] for seed in (0, 1)}
    assert found.keys() == names
    record = json.loads((folder / "run.json").read_text())
    for name, run in found.items():
        assert logged(run) == losses(folder, record["stages"][name]["folder"])
    means = pd.read_csv(folder / "validation.csv", keep_default_na=False)
    for name in names - {"BC/0", "BC/1"}:
        title, _, seed = name.rpartition("/")
        kind = "ItemBias" if title == NOISY else ""
        strength = title.split(", ")[1]
        (row,) = means[
            (means["method"] == "ExpRSFT")
            & (means["kind"] == kind)
            & (means["strength"] == strength)
            & (means["seed"] == int(seed))
        ].to_dict("records")
        last = found[name]["history"][-1]
        assert last["value"] == pytest.approx(float(row["NDCG@10 liked"]), rel=1e-12)
        assert last["validation/proxy"] == pytest.approx(float(row["proxy"]), rel=1e-12)
    assert "0 new runs" in sync(folder)


def test_a_killed_grid_has_the_policies_so_far_and_goes_on_as_the_same_runs(
    grid, tmp_path, monkeypatch, capfd
):
    evaluate, calls = Pipeline.evaluate, []

    def killed(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return evaluate(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "evaluate", killed)
        with pytest.raises(KeyboardInterrupt):
            grid()
    folder = tmp_path / "runs" / "grid-small"
    sync(folder)
    before = policies(folder, capfd)
    assert before
    assert before.keys() < {f"{title}/{seed}" for title in TITLES for seed in (0, 1)}
    assert all(logged(run) for run in before.values())
    grid()
    after = policies(folder, capfd)
    assert {name: after[name]["run_id"] for name in before} == {
        name: run["run_id"] for name, run in before.items()
    }
    assert mirror(folder).written == 0
