"""experiments/whole_field.py: no method is forgotten, each has its control; and a reduced run."""

from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain import algorithms
from recsys_posttrain.rewards.control import ShuffledRewards
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.study import run_study

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
SMALL = """
from whole_field import *
from whole_field import FIELD, RUNS, grid, shuffled
from dataclasses import replace

from recsys_posttrain.data.user_holdout import UserHoldout
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.algorithms import BC

plan = Training(epochs=1, batch_size=8)


def small(dataset):
    dataset = replace(dataset, users=60, length=12)
    setup = Setup(
        dataset,
        UserHoldout(minimum_item_ratings=1),
        backbone=SASRec(dim=8, blocks=1, feed_forward=16, max_length=12),
        pretraining=plan,
    )
    base = Run(BC(), setup, posttraining=replace(plan, epochs=None, steps=2))
    methods = [each for each in FIELD if each.name in ("BC", "CQL", "KTO")]
    return grid(base, methods, [shuffled(methods[1])], {}, {}, {})


RUNS = small
BASELINES = ()
"""


def test_every_method_has_strengths_and_a_control(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import whole_field

    runs = whole_field.runs_on()
    there = {type(run.algorithm).__name__ for run in runs}
    trained = {name for name in vars(algorithms) if name[:1].isupper()}
    # It costs four times OfflinePPO, whose exact form it is.
    assert there - {"OnlineRL"} >= trained - {"ExactPPO"}
    shuffled = {run.name.split(",")[0] for run in runs if isinstance(run.control, ShuffledRewards)}
    for method in whole_field.FIELD:
        assert len(method.strengths) >= 5, method.name
        assert method.name.split(",")[0] in shuffled, method.name
    assert all(run.noise.model is None and run.noise.log is None for run in runs)


def test_a_reduced_run(small_jester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXPERIMENTS)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    file = tmp_path / "small.py"
    file.write_text(SMALL)
    options = Options(
        dataset="jester", seeds=1, workers=1, data_root=str(small_jester.path), output=tmp_path
    )
    folder = run_study(file, options)
    rows = pd.read_parquet(folder / "rows.parquet")
    assert rows[rows["method"] == "CQL"]["strength"].nunique() >= 3
    assert "KTO, shuffled reward" in set(rows["method"])
    assert (folder / "equal_kl.md").stat().st_size > 0
