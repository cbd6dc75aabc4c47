"""A whole sweep: what it leaves, what it refuses, and how it goes on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl

from recsys_posttrain.errors import UserError
from recsys_posttrain.store import read_stage
from recsys_posttrain.studies.execute import Options as StudyOptions
from recsys_posttrain.studies.study import run_study
from recsys_posttrain.sweep.objective import Objective
from recsys_posttrain.sweep.run import run_sweep

SMALL_SWEEP = Path(__file__).resolve().parents[1] / "small_sweep.py"
NAME = "small_sweep-small"
CELLS = ["BC", "ExpRSFT", "OfflinePPO", "OfflinePPO, ItemBias 1"]
ROWS = ["Popularity", "Pretrained", "ItemMean", "RewardArgmax", "Tilt", "FilteredBC", *CELLS]
TABLES = ("table.csv", "rows.parquet")


@pytest.fixture
def copied(finished, tmp_path, options):
    """Options of a copy of the finished sweep."""
    shutil.copytree(finished, tmp_path / "runs")
    return options._replace(output=tmp_path / "runs")


def tables(root):
    """Their bytes; table.md and table.tex hold the command too, so they name the folder."""
    return {name: (root / NAME / name).read_bytes() for name in TABLES}


def trained(root):
    return {path.name for path in (root / "stages").glob("posttrain-*")}


def test_what_a_sweep_leaves_behind(finished):
    folder = finished / NAME
    trials = pd.read_csv(folder / "trials.csv", keep_default_na=False)
    assert trials.columns[:8].tolist() == [
        *("algorithm", "noise", "trial", "state", "reason", "value", "seconds", "stage")
    ]
    assert set(trials.columns[8:]) == {
        "param.posttraining.learning_rate",
        "param.posttraining.weight_decay",
        "param.algorithm.temperature",
        "param.algorithm.kl_coefficient",
    }
    assert trials["trial"].tolist() == 4 * [0, 1, 2]
    assert trials["algorithm"].tolist() == 3 * ["BC"] + 3 * ["ExpRSFT"] + 6 * ["OfflinePPO"]
    assert trials["noise"].tolist() == 9 * [""] + 3 * ["ItemBias 1"]
    assert set(trials["state"]) == {"complete"}
    rows = pd.read_parquet(folder / "rows.parquet")
    assert rows["method"].unique().tolist() == ROWS
    record = json.loads((folder / "run.json").read_text())
    assert record["command"].startswith("recsys-posttrain sweep ")
    assert "0 trials failed" in record["tuning"]
    assert [run["title"] for run in record["runs"]] == ROWS
    assert set(record["noise"]) == {"OfflinePPO, ItemBias 1"}


def test_where_no_trial_beats_doing_nothing_the_row_is_the_pretrained_policys(finished):
    """As the trials' values say, and the caption; whatever was chosen, its share is written."""
    folder = finished / NAME
    trials = pd.read_csv(folder / "trials.csv", keep_default_na=False)
    names = trials["algorithm"] + trials["noise"].map(lambda noise: f", {noise}" * bool(noise))
    best = trials["value"].groupby(names).max()
    record = json.loads((folder / "run.json").read_text())
    nothing, setting = (record["sweep"][name] for name in ("nothing", "chosen"))
    idle = [name for name in CELLS if nothing[name] >= best[name]]
    assert [name for name in CELLS if setting[name] is None] == idle
    rows = pd.read_parquet(folder / "rows.parquet")
    means = rows[rows["seed"] == 0].groupby("method", observed=True)["ndcg@10"].mean()
    for name in CELLS:
        assert (means[name] == means["Pretrained"]) == (name in idle), name
        assert (f"{name} does nothing, because no trial beat" in record["tuning"]) == (name in idle)
    selection = pd.read_csv(folder / "selection.csv")
    own = selection[selection["rule"] == "NDCG@10 liked"].set_index("method")
    assert sorted(own.index) == sorted(CELLS)
    assert [name for name in CELLS if own.loc[name, "strength"] == "do nothing"] == idle
    assert own["chosen_share"].between(0, 1).all()


def test_only_the_best_trials_setting_enters_the_table(finished):
    """Chosen by the trials' values as they are written; its runs have the fresh seeds alone."""
    folder = finished / NAME
    trials = pd.read_csv(folder / "trials.csv", keep_default_na=False)
    record = json.loads((folder / "run.json").read_text())
    tuned = [name for name in CELLS if record["sweep"]["chosen"][name] is not None]
    assert tuned
    for name in tuned:
        method, _, noise = name.partition(", ")
        tried = trials[(trials["algorithm"] == method) & (trials["noise"] == noise)]
        best = tried.loc[tried["value"].idxmax()]
        (run,) = (run for run in record["runs"] if run["name"] == name)
        for path in record["sweep"]["chosen"][name]:
            part, _, field = path.partition(".")
            assert run[part][field] == float(best[f"param.{path}"])
        for seed in (0, 1):
            stage = record["stages"][f"{name}/{seed}"]["folder"]
            key = read_stage(finished / "stages" / stage)["key"]
            assert key["seed"] == seed
            assert key["algorithm"] == run["algorithm"]


def test_each_seed_of_a_noise_draws_errors_of_its_own(finished):
    """And what the noise achieved is the mean over them."""
    record = json.loads((finished / NAME / "run.json").read_text())
    stages = [read_stage(path) for path in (finished / "stages").glob("noise-report-*")]
    assert sorted(stage["key"]["noise"]["seed"] for stage in stages) == [0, 1]
    reports = [stage["record"]["model"]["rmse"] for stage in stages]
    assert record["noise"]["OfflinePPO, ItemBias 1"]["model"]["rmse"] == pytest.approx(
        np.mean(reports)
    )


def test_again_it_only_reads(copied, finished, monkeypatch, capsys):
    def fail(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(pl.Trainer, "fit", fail)
    run_sweep(SMALL_SWEEP, copied)
    assert tables(copied.output) == tables(finished)
    assert "trial 1 of" not in capsys.readouterr().out


def test_interrupted_in_a_trial_it_goes_on_and_ends_in_the_same_table(
    finished, options, tmp_path, monkeypatch
):
    """Ctrl-C in the second and in a final run: each trial is done once, with the same setting."""
    options = options._replace(output=tmp_path)
    shutil.copytree(finished / "stages", tmp_path / "stages")
    for path in (tmp_path / "stages").glob("posttrain-*"):
        shutil.rmtree(path)
    original, calls = Objective.trial, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) in (2, 9):
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(Objective, "trial", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_sweep(SMALL_SWEEP, options)
    run_sweep(SMALL_SWEEP, options)
    assert len(calls) == 12 + 2
    assert tables(tmp_path) == tables(finished)
    assert trained(tmp_path) == trained(finished)


def test_a_changed_definition_is_named_and_refused_until_it_is_accepted(copied, finished):
    """A longer budget keeps the trials there are; the new ones look at them."""
    options = copied._replace(trials=4)
    with pytest.raises(UserError, match=r"\(trials: 3 before, 4 now\): add --accept-changes"):
        run_sweep(SMALL_SWEEP, options)
    assert tables(copied.output) == tables(finished)
    run_sweep(SMALL_SWEEP, options._replace(accepts_changes=True))
    old, new = (pd.read_csv(root / NAME / "trials.csv") for root in (finished, copied.output))
    kept = new[new["trial"] < 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, old)
    assert len(new) == 16
    run_sweep(SMALL_SWEEP, options)  # accepted once, it is the definition


def test_failed_trials_count_and_are_named_with_their_reason(copied, tmp_path):
    text = SMALL_SWEEP.read_text().replace("Between(0.25, 4.0, log=True)", "Between(-9.0, 0.001)")
    file = tmp_path / SMALL_SWEEP.name
    file.write_text(text)
    (tmp_path / "small_study.py").write_text(SMALL_SWEEP.with_name("small_study.py").read_text())
    with pytest.raises(UserError, match=r"file tests/small_sweep.py there and /.*small_sweep.py"):
        run_sweep(file, copied)
    definition = copied.output / NAME / "definition.json"  # as if it had been that file before
    definition.write_text(definition.read_text().replace("tests/small_sweep.py", str(file)))
    with pytest.raises(UserError, match=r"methods.ExpRSFT.space.algorithm.temperature.low: 0.25"):
        run_sweep(file, copied)
    folder = run_sweep(file, copied._replace(accepts_changes=True))
    trials = pd.read_csv(folder / "trials.csv", keep_default_na=False)
    failed = trials[trials["state"] == "failed"]
    assert failed["algorithm"].tolist() == 3 * ["ExpRSFT"]
    assert all("must be above 0" in reason for reason in failed["reason"])
    assert set(failed["value"]) == {""}
    caption = (folder / "table.md").read_text()
    assert "3 trials failed (ExpRSFT 3); " in caption
    assert "; no row for ExpRSFT, no trial completed" in caption
    assert "| ExpRSFT" not in caption


def test_a_damaged_database_is_named_and_the_results_stay(copied, finished):
    path = copied.output / NAME / "study.db"
    for damage in (b"garbage", path.read_bytes()[:4096] + b"x" * 50_000):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=rf"{path}: .*(not a database|malformed).* move it awa"):
            run_sweep(SMALL_SWEEP, copied)
        assert tables(copied.output) == tables(finished)
    path.unlink()
    before = trained(copied.output)
    run_sweep(SMALL_SWEEP, copied)
    assert trained(copied.output) == before, "every run was a stage"
    assert tables(copied.output) == tables(finished)


def test_the_same_data_in_another_place_is_the_same_sweep(copied, finished, tmp_path):
    shutil.copy(copied.dataset, tmp_path / "small.csv")
    before = trained(copied.output)
    run_sweep(SMALL_SWEEP, copied._replace(dataset=str(tmp_path / "small.csv")))
    assert trained(copied.output) == before


GRID = """
from small_study import BASE
from recsys_posttrain.algorithms import ExpRSFT
from recsys_posttrain.sweep.definition import Method, Sweep
from recsys_posttrain.sweep.sampler import Grid
from recsys_posttrain.sweep.space import OneOf

TEMPERATURE = {"algorithm.temperature": OneOf((0.5, 2.0))}
SWEEP = Sweep(
    BASE,
    (Method(BASE.algorithm, {}), Method(ExpRSFT(), TEMPERATURE)),
    sampler=Grid(),
    tuning_seeds=(0,),
    seeds=(),
)
"""
TRIED = """
from dataclasses import replace
from small_study import BASE
from recsys_posttrain.algorithms import ExpRSFT

RUNS = [
    BASE,
    replace(BASE, name="ExpRSFT, temperature=0.5", algorithm=ExpRSFT(temperature=0.5)),
    replace(BASE, name="ExpRSFT, temperature=2.0", algorithm=ExpRSFT(temperature=2.0)),
]
"""


def test_a_grid_without_fresh_seeds_is_the_study_of_its_runs_on_validation_targets(
    finished, options, tmp_path, monkeypatch
):
    """Two workers, and a study of the same runs, whose stages it finds."""
    shutil.copytree(finished / "stages", tmp_path / "stages")
    monkeypatch.syspath_prepend(SMALL_SWEEP.parent)
    for name, text in (("tried", TRIED), ("grid", GRID)):
        (tmp_path / f"{name}.py").write_text(text)
    asked = StudyOptions(
        dataset=options.dataset, workers=1, output=tmp_path, eval_split="validation"
    )
    study = run_study(tmp_path / "tried.py", asked)
    there = trained(tmp_path)
    grid = options._replace(output=tmp_path, workers=2)
    folder = run_sweep(tmp_path / "grid.py", grid)
    assert trained(tmp_path) == there
    for name in TABLES:
        assert (folder / name).read_bytes() == (study / name).read_bytes()
    trials = pd.read_csv(folder / "trials.csv")
    rows = pd.read_parquet(folder / "rows.parquet")
    liked = rows[rows["reward"] >= 4].groupby("method", observed=True)["ndcg@10"].mean()
    names = ("BC", "ExpRSFT, temperature=0.5", "ExpRSFT, temperature=2.0")
    assert trials["value"].tolist() == pytest.approx([liked[each] for each in names], rel=1e-12)
    caption = (folder / "table.md").read_text().partition("\n")[0]
    assert "every combination of the searched values (BC 1, ExpRSFT 2), by ndcg@10" in caption
    assert "this table is the tuning; 0 trials failed" in caption
    with pytest.raises(UserError, match=r"^--trials 3: .*grid.py tries every combination .* once"):
        run_sweep(tmp_path / "grid.py", grid._replace(trials=3))
