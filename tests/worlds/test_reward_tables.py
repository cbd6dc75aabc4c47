"""experiments/reward_tables.py in a small world: one table, the same events for every row."""

from dataclasses import replace

import pytest
from reward_tables import configs_of, qualities
from small_world import SMALL

import recsys_posttrain as rp
from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.baselines import NAIVE_BASELINES
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.training.ensemble import RewardEnsemble


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path))
    return rp.load(SMALL, split=LeaveOneOut(minimum_item_ratings=1))


ENSEMBLE = RewardEnsemble(
    SASRec(dim=8, blocks=1, feed_forward=16, history_rewards=True),
    members=2,
    rank=2,
    training=Training(epochs=1, batch_size=16),
)


def test_all_models_and_baselines_stand_in_one_table(data):
    frame = qualities(data, (RewardFactors(rank=2, rounds=2), ENSEMBLE))
    names = [name for name, _ in NAIVE_BASELINES]
    assert frame.index.tolist() == [*names, "RewardFactors", "RewardEnsemble"]
    assert frame["events"].nunique() == frame["users"].nunique() == 1
    for column in ("rmse", "mae", "pairwise_accuracy", "spearman", "context_accuracy"):
        assert frame.loc[["RewardFactors", "RewardEnsemble"], column].notna().all()
    assert frame.loc["RewardFactors", "rmse"] != frame.loc["RewardEnsemble", "rmse"]


def test_models_of_different_windows_are_not_put_side_by_side(data):
    short = replace(ENSEMBLE, encoder=replace(ENSEMBLE.encoder, max_length=3))
    with pytest.raises(ValueError, match="windows of different lengths"):
        qualities(data, (RewardFactors(rank=2, rounds=2), short))


def test_the_ensemble_of_a_hundred_items_is_small():
    (factors, ensemble), (_, default) = configs_of("jester"), configs_of("semi-ml-100k")
    assert isinstance(factors, RewardFactors)
    assert ensemble.encoder.dim == 32
    assert default == RewardEnsemble()
