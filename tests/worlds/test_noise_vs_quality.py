"""experiments/noise_vs_quality.py in a reduced form, by the commands that everybody has."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain.report.page import page
from recsys_posttrain.report.study_folder import study_folder
from recsys_posttrain.studies.choose import NOTHING
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.rules import OWN
from recsys_posttrain.studies.study import run_study, study_table

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
SMALL = """
from dataclasses import replace

from noise_vs_quality import *
from recsys_posttrain.plan import Training
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.worlds.jester import Jester

plan = Training(epochs=1, batch_size=8)
sizes = dict(dim=8, blocks=1, feed_forward=16, max_length=12)
reward = RewardEnsemble(SASRec(**sizes, history_rewards=True), members=2, rank=4, training=plan)


def small(dataset=Jester()):
    dataset = replace(dataset, users=60, length=12)
    split = UserHoldout(minimum_item_ratings=1)
    setup = Setup(dataset, split, backbone=SASRec(**sizes), pretraining=plan, reward=reward)
    base = Run(BC(), setup, posttraining=replace(plan, epochs=None, steps=2))
    methods = [each for each in METHODS if each.name in ("BC", "ASFT", "ASFT(model)")]
    others = [each for each in CONTROLS if each.name.endswith("constant reward")]
    return grid(
        base, methods, [*others, BOUNDS[-1]], {ItemBias: (1.0,), Gaussian: (1.0,)}, {Flips: (0.4,)},
        {Flips: (0.4,)},
    )


RUNS = small
BASELINES = ()
"""
MODEL = "ASFT(model)"
CONDITION = ["place", "kind", "level", "method", "strength"]


def test_the_whole_study_in_a_reduced_form(
    small_jester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three methods under three kinds of noise; a second call reuses what the first one built."""
    monkeypatch.syspath_prepend(EXPERIMENTS)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    file = tmp_path / "small.py"
    file.write_text(SMALL)
    options = Options(
        dataset="jester", seeds=2, workers=1, data_root=str(small_jester.path), output=tmp_path
    )
    built = []
    for _ in range(2):
        folder = run_study(file, options)
        stages = (tmp_path / "stages").iterdir()
        built.append({(stage, (stage / "stage.json").stat().st_mtime_ns) for stage in stages})
    assert built[0] == built[1]

    table = pd.read_csv(folder / "table.csv")
    everywhere = {"Popularity", "Pretrained", "BC", "ASFT", MODEL}
    controls = {f"{name}, constant reward" for name in ("BC", "ASFT", "OfflinePPO")}
    assert set(table[table["level"] == 0]["method"]) == everywhere | controls | {"OnlineRL"}
    assert set(table[table["level"] > 0]["method"]) == everywhere
    of_model = table[table["place"] == "model"].set_index("method")["mean"]
    clean = table[table["place"].isna()].set_index("method")["mean"]
    assert set(of_model["BC"]) == {clean["BC"]}, "the errors of the model do not reach it"

    record = json.loads((folder / "run.json").read_text())
    noisy = [run for run in record["runs"] if run["noise"]["model"] or run["noise"]["log"]]
    tried = pd.DataFrame(
        [(run["name"], next(run["noise"][p]["class"] for p in ("model", "log") if run["noise"][p]))
         for run in noisy], columns=["name", "kind"],
    ).value_counts().to_dict()  # fmt: skip
    assert min(tried.pop((name, "ItemBias")) for name in ("ASFT", MODEL)) >= 3
    others = [(name, kind) for name in ("ASFT", MODEL) for kind in ("Gaussian",)]
    flips = [("BC", "Flips"), *((name, "Flips") for name in ("ASFT", MODEL))]
    assert tried == dict.fromkeys(others, 1) | dict.fromkeys(flips, 2)  # alone and shared
    assert set(table[table["place"] == "shared"]["method"]) == everywhere
    assert table.loc[table["place"] != "log", "projected_truth"].notna().all()
    assert record["policies"] == 2 * sum(run["trained"] for run in record["runs"])
    validation = pd.read_csv(folder / "validation.csv", keep_default_na=False)
    trained = validation[validation["strength"] != NOTHING]
    means = trained[trained["place"] == ""].groupby(["method", "strength"], sort=False)[OWN].mean()
    kept = {run["name"]: run["strength"] for run in noisy if run["noise"]["log"]}
    assert all(means[name, kept[name]] == means[name].max() for name in kept)
    several = {"BC", "ASFT", MODEL, "BC, constant reward"}
    assert set(validation[validation["strength"] == NOTHING]["method"]) == several

    rows = pd.read_parquet(folder / "rows.parquet")
    seeds = {run["noise"]["seed"] for run in record["runs"]}
    assert seeds == {0}, "run.json has the runs without seeds"
    keys = [
        json.loads(path.read_text())["key"]
        for path in (tmp_path / "stages").glob("posttrain-*/stage.json")
    ]
    assert {key["noise"]["seed"] for key in keys if "noise" in key} == {0, 1}, "redrawn by seed"
    steps = {key["training"]["steps"] for key in keys if key["algorithm"]["class"] == "BC"}
    assert steps == {1, 2}, "imitation for a quarter, half and all of two steps"
    names = ["method", "place", "kind", "level", "strength"]
    assert rows.groupby(names)["seed"].nunique().drop(["Popularity", "Pretrained"]).eq(2).all()

    sheets = [
        f"{name}.{end}" for name in ("equal_kl", "table", "selection") for end in ("md", "tex")
    ]
    for name in (*sheets, "pairs.csv", "frontier.csv", "quality.png", "frontier.png"):
        assert (folder / name).stat().st_size > 0, name
    before = {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    study_table(folder, None, None, folder)
    assert before == {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    html = page(study_folder(folder))
    assert html.index("Equal distance") < html.index("Choosing a strength")
    gains = pd.read_csv(folder / "equal_kl.csv", keep_default_na=False, na_values="")
    assert set(gains["column"]) == {"reward gold", "reward gold@5"}
    assert set(gains["method"]) == {"BC", "ASFT", MODEL, "BC, constant reward"}
    assert "Noise against quality" in html
    check_published(folder, tmp_path / "published")


def check_published(folder: Path, results: Path) -> None:
    """The means of the table follow from rows that name nobody."""
    from publish import main, publish

    there = publish(folder, results)
    assert {"run.json", "table.md", "selection.csv", "rows.parquet"} <= set(os.listdir(there))
    assert not (there / "plan.json").exists()
    rows, table = pd.read_parquet(there / "rows.parquet"), study_folder(folder).cells
    assert [*rows] == [*CONDITION, "seed", "user", "reward/gold", "reward/gold@5", "kl"]
    assert rows["user"].nunique() == rows["user"].max() + 1
    assert {*table["column"]} == {"true reward of the top 5"}
    means = rows.groupby(CONDITION)["reward/gold@5"].mean()
    expected = table.set_index(CONDITION)["mean"]
    both = (each[means.index].astype(float) for each in (means, expected))
    pd.testing.assert_series_equal(*both, check_names=False, atol=1e-4, rtol=0)
    missing = set(table["method"]) - set(means.index.get_level_values("method"))
    assert missing <= set(table.loc[table["strength"] == NOTHING, "method"])
    assert main([str(results / "nowhere")]) == 2
