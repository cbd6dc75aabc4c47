"""What a trial may see: no test target and no truth; and what it is worth."""

from pathlib import Path

import pandas as pd
import pytest
from sealed_world import Made, run_in

from recsys_posttrain.errors import TrainingFailed, UserError
from recsys_posttrain.evaluation.subsets import all_targets, liked
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.sweep.definition import Method, Sweep
from recsys_posttrain.sweep.objective import Objective
from recsys_posttrain.sweep.space import Between

SPACE = {"algorithm.temperature": Between(-1.0, 2.0)}


@pytest.fixture(scope="module")
def world(in_a_folder):
    """A world whose truth raises when it is asked for, and a sweep in it."""
    run = run_in(Made(None))
    sweep = Sweep(run, (Method(run.algorithm, SPACE),), tuning_seeds=(100, 101))
    return sweep, Path("objective").resolve()


def test_an_objective_has_neither_test_targets_nor_truth(world):
    """The whole of a trial: shared stages, post-training and evaluation, from nothing."""
    sweep, root = world
    objective = Objective(sweep, Pipeline(sweep.base.setup, root))
    (cell,) = sweep.cells
    assert 0 <= objective.trial(cell, {"algorithm.temperature": 1.0}) <= 1
    pipeline = objective.tuning
    with pytest.raises(AssertionError, match="asked for test targets"):
        pipeline.data.test.items_N.sum()
    with pytest.raises(AssertionError, match="asked for test targets"):
        pipeline.evaluate(pipeline.pretrain(), "test")


def test_the_value_is_the_mean_over_seeds_of_the_mean_over_the_subset(world):
    sweep, root = world
    (cell,) = sweep.cells
    pipeline = Pipeline(sweep.base.setup, root)
    frames = []
    for seed in (100, 101):
        folder = pipeline.posttrain(cell.run({"algorithm.temperature": 0.5}, seed))
        frames.append(pipeline.evaluate(folder, "validation"))
    by_hand = [frame.loc[frame["reward"] >= 4, "ndcg@10"].mean() for frame in frames]
    found = Objective(sweep, pipeline).trial(cell, {"algorithm.temperature": 0.5})
    assert found == pytest.approx(sum(by_hand) / 2, rel=1e-12)


def test_doing_nothing_is_worth_what_the_pretrained_policy_is(world):
    """One more trial, without training."""
    sweep, root = world
    (cell,) = sweep.cells
    pipeline = Pipeline(sweep.base.setup, root)
    rows = pipeline.evaluate(pipeline.pretrain(), "validation")
    by_hand = rows.loc[rows["reward"] >= 4, "ndcg@10"].mean()
    assert Objective(sweep, pipeline).nothing(cell) == pytest.approx(by_hand, rel=1e-12)


def test_infeasible_and_diverged_settings_fail_with_the_reason(world, monkeypatch):
    sweep, root = world
    (cell,) = sweep.cells
    objective = Objective(sweep, Pipeline(sweep.base.setup, root))
    with pytest.raises(TrainingFailed, match=r"temperature=-0.5 must be above 0"):
        objective.trial(cell, {"algorithm.temperature": -0.5})
    with pytest.raises(TrainingFailed, match=r"the loss became .* at step 0"):
        objective.trial(cell, {"algorithm.temperature": 1e-320})
    rows = pd.DataFrame({"reward": [5.0], "ndcg@10": [float("nan")]})
    monkeypatch.setattr(objective.tuning, "evaluate", lambda *arguments: rows)
    monkeypatch.setattr(objective.tuning, "posttrain", lambda run: Path())
    with pytest.raises(TrainingFailed, match="the validation ndcg@10 is nan"):
        objective.trial(cell, {"algorithm.temperature": 1.0})


@pytest.mark.parametrize(
    ("metric", "over", "sentence"),
    [
        ("reward/gold@5", all_targets, "is not a column of validation rows; give one of reward"),
        ("ndcg@10", liked, "over=liked leaves no target of this data"),
    ],
)
def test_a_metric_that_validation_does_not_have_is_the_users_mistake(
    world, monkeypatch, metric, over, sentence
):
    sweep, root = world
    sweep = Sweep(sweep.base, sweep.methods, metric=metric, over=over)
    objective = Objective(sweep, Pipeline(sweep.base.setup, root))
    rows = pd.DataFrame({"reward": [2.0], "ndcg@10": [0.5]})
    monkeypatch.setattr(objective.tuning, "evaluate", lambda *arguments: rows)
    monkeypatch.setattr(objective.tuning, "posttrain", lambda run: Path())
    with pytest.raises(UserError, match=sentence) as refusal:
        objective.trial(sweep.cells[0], {"algorithm.temperature": 1.0})
    assert not isinstance(refusal.value, TrainingFailed)
