"""A study whose strengths the doubly robust estimate chooses, by the command that everybody has."""

import json
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.studies.choose import NOTHING
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.study import run_study, study_table

STUDY = """
from dataclasses import replace

from recsys_posttrain.algorithms import BC, OfflinePPO
from recsys_posttrain.data import UserHoldout
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.worlds.jester import Jester


def runs(dataset=Jester()):
    plan = Training(epochs=1, batch_size=8)
    small = SASRec(dim=8, blocks=1, feed_forward=16, max_length=12)
    if hasattr(dataset, "users"):
        dataset = replace(dataset, users=60, length=12)
    split, reward = UserHoldout(minimum_item_ratings=1), RewardFactors(rank=2, rounds=2)
    setup = Setup(dataset, split, backbone=small, pretraining=plan, reward=reward)
    steps = replace(plan, epochs=None, steps=3)
    return [
        Run(OfflinePPO(kl_coefficient=kl), setup, "PPO", steps, strength=f"KL {kl}")
        for kl in (10.0, 0.01)
    ]


RUNS, BASELINES, CHOSEN_BY = runs, (), "dr"
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    path = tmp_path / "by_dr.py"
    path.write_text(STUDY)
    return path


def test_strengths_are_chosen_by_the_estimate(small_jester, file: Path, tmp_path: Path) -> None:
    data_root = str(small_jester.path)
    options = Options(dataset="jester", seeds=1, workers=1, data_root=data_root, output=tmp_path)
    folder = run_study(file, options)
    assert json.loads((folder / "run.json").read_text())["chosen_by"] == "dr"
    validation = pd.read_csv(folder / "validation.csv", keep_default_na=False)
    assert set(validation["strength"]) == {NOTHING, "KL 10.0", "KL 0.01"}
    best = validation.loc[validation["dr"].idxmax(), "strength"]
    table = pd.read_csv(folder / "table.csv").set_index("method")
    assert table.loc["PPO", "strength"] == best
    selection = pd.read_csv(folder / "selection.csv").set_index("rule")
    assert selection.index[0] == "dr"
    assert selection.loc["dr", "strength"] == best
    text = (folder / "table.md").read_text()
    assert "the strength that the doubly robust estimate on validation targets chose" in text
    study_table(folder, None, None)
    assert (folder / "table.md").read_text() == text


def test_a_log_without_propensities_is_refused_before_anything_is_trained(
    small_ratings_csv, file: Path, tmp_path: Path
) -> None:
    options = Options(dataset=str(small_ratings_csv), seeds=1, workers=1, output=tmp_path)
    with pytest.raises(UserError, match="CHOSEN_BY='dr' weighs by propensities, and small states"):
        run_study(file, options)
    assert not (tmp_path / "stages").exists()
