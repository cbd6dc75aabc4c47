"""experiments/whole_field.py: no method is forgotten, each has its control; and a reduced run."""

import json
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain import algorithms
from recsys_posttrain.errors import UserError
from recsys_posttrain.rewards.control import ShuffledRewards
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.study import run_study
from recsys_posttrain.worlds.catalog import dataset_named

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


def test_the_judge_says_which_strength_is_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """It prefers the weakest regularisation of the first three, NDCG the strongest."""
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import whole_field

    runs = [run for run in whole_field.runs_on() if run.label == "KTO"]
    first = whole_field.NEXT_RUNS(runs, (), pd.DataFrame())
    assert [run.strength for run in first] == ["beta 4", "beta 2", "beta 1"]
    seen = [
        {**run.row, "seed": 0, "judge": 3 + place / 10, "NDCG@10 liked": 0.2 - place / 10}
        for place, run in enumerate(first)
    ]
    later = whole_field.NEXT_RUNS(runs, first, pd.DataFrame(seen))
    assert [run.strength for run in later] == ["beta 0.5"]


def test_where_the_judge_is_the_measure_it_may_not_choose(
    monkeypatch: pytest.MonkeyPatch, small_ratings_csv: Path
) -> None:
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import whole_field

    with pytest.raises(UserError, match=r"for worlds, and small is none: .* movielens_main"):
        whole_field.runs_on(dataset_named(str(small_ratings_csv)))


def test_a_reduced_run(
    small_jester,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(EXPERIMENTS)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    file = tmp_path / "small.py"
    file.write_text(SMALL)
    options = Options(
        dataset="jester", seeds=1, workers=1, data_root=str(small_jester.path), output=tmp_path
    )
    folder = run_study(file, options)
    named = capsys.readouterr().out.partition("written: ")[2].splitlines()[0].split("/")[-1]
    for name in named.split(", "):  # no picture, as there is no noise
        assert (folder / name).exists(), name
    assert json.loads((folder / "run.json").read_text())["chosen_by"] == "judge"
    rows = pd.read_parquet(folder / "rows.parquet")
    assert rows[rows["method"] == "CQL"]["strength"].nunique() >= 3
    assert "KTO, shuffled reward" in set(rows["method"])
    assert (folder / "equal_kl.md").stat().st_size > 0
