"""What noises achieved, by run.json, beside the clean model."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.report.cells import read_sheet
from recsys_posttrain.report.grid import achieved, blocks
from recsys_posttrain.report.study_folder import study_folder

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"
CONDITION = ["place", "kind", "level"]


def test_what_noises_achieved_stands_beside_the_clean_model() -> None:
    """Nothing stands where nothing was measured."""
    noises = {
        "PPO": {},
        "biased": {"model": {"class": "ItemBias", "level": 1.0}},
        "biased too": {"model": {"class": "ItemBias", "level": 1.0}},
        "flipped": {"log": {"class": "Flips", "level": 0.4}},
    }
    runs = [
        {"title": name, "name": "PPO", "algorithm": {"class": "OfflinePPO"}, "noise": noise}
        for name, noise in noises.items()
    ]
    of_model = {
        "model": {
            **{"pairwise_accuracy": 0.55, "rmse": 1.3, "projected_judge": 0.2},
            **{"clean_pairwise_accuracy": 0.7, "clean_rmse": 1.0, "clean_projected_judge": 0.6},
        }
    }
    of_log = {"log": {"pairwise_accuracy": 0.65, "rmse": 2.0}}
    noise = {"biased": of_model, "biased too": of_model, "flipped": of_log}
    found = achieved({"runs": runs, "noise": noise}).set_index(CONDITION)
    measured = ["pairwise_accuracy", "rmse", "projected_judge"]
    assert found["projected_truth"].isna().all()
    assert np.isnan(found.loc[("log", "Flips", 0.4), "projected_judge"])
    assert found.loc[("", "", 0.0)][measured].tolist() == [0.7, 1.0, 0.6]
    assert found.loc[("model", "ItemBias", 1.0)][measured].tolist() == [0.55, 1.3, 0.2]
    assert found.loc[("log", "Flips", 0.4)].tolist()[:2] == [0.65, 2.0]
    assert len(found) == 3


@pytest.mark.parametrize("dataset", ["ml-1m", "semi-ml-100k"])
def test_published_tables_follow_from_their_numbers(dataset: str) -> None:
    """table.json from table.csv, and what noises achieved from run.json."""
    study = study_folder(RESULTS / f"noise_vs_quality-{dataset}")
    published = read_sheet(study.path / "table.json").blocks
    drawn = blocks(study.cells)
    assert [list(map(list, b.rows)) for b in drawn] == [list(map(list, b.rows)) for b in published]
    there = study.cells.drop_duplicates(CONDITION).set_index(CONDITION).sort_index()
    told = achieved(study.record).set_index(CONDITION).sort_index().astype(float)
    told = told[[name for name in told if name in there]]
    pd.testing.assert_frame_equal(told, there[list(told.columns)])
    assert json.loads((study.path / "run.json").read_text())["runs"]
