"""Rules that a study of a world has beside NDCG: the doubly robust estimate, judges with errors."""

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
from recsys_posttrain.rewards.noise import ItemBias, RewardNoise
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


def noisy(dataset=Jester()):
    found = runs(dataset)
    setup = replace(found[0].setup, judge_errors=(0.5, 1.0))
    clean = [replace(run, setup=setup) for run in found]
    return [*clean, *(replace(run, noise=RewardNoise(ItemBias(1.0))) for run in clean)]


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
    study_table(folder, None, None, folder)
    assert (folder / "table.md").read_text() == text


def test_a_log_without_propensities_is_refused_before_anything_is_trained(
    small_ratings_csv, file: Path, tmp_path: Path
) -> None:
    options = Options(dataset=str(small_ratings_csv), seeds=1, workers=1, output=tmp_path)
    with pytest.raises(UserError, match="CHOSEN_BY='dr' weighs by propensities, and small states"):
        run_study(file, options)
    assert not (tmp_path / "stages").exists()


def test_judges_with_errors_are_rules_under_noise_alone(
    small_jester, file: Path, tmp_path: Path
) -> None:
    """The one that errs as the model does is not the one that errs half as it does."""
    file.write_text(
        STUDY.replace("RUNS, BASELINES, CHOSEN_BY = runs", "RUNS, BASELINES, CHOSEN_BY = noisy")
    )
    data_root = str(small_jester.path)
    options = Options(dataset="jester", seeds=1, workers=1, data_root=data_root, output=tmp_path)
    folder = run_study(file, options)
    selection = pd.read_csv(folder / "selection.csv", keep_default_na=False)
    rules = selection.groupby("kind")["rule"].agg(set)
    judges = {"judge, errors 0.5", "judge, errors 1"}
    assert rules["ItemBias"] - rules[""] == judges
    assert "judge, errors 1" in (folder / "selection.md").read_text()
    targets = pd.read_parquet(folder / "validation.parquet")
    of_noise = targets[targets["kind"] == "ItemBias"]
    half, full, none = (of_noise[f"reward/judge{e}@10"] for e in ("(0.5)", "(1)", ""))
    assert full.notna().all()
    assert (half != full).any()
    assert (full != none).any()
