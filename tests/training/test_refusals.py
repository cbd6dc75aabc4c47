"""What a method needs and a run lacks is said before the first step, in one sentence."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recsys_posttrain.algorithms import (
    DPO,
    IPO,
    KTO,
    SDPO,
    WBC,
    FilteredBC,
    Pessimistic,
    ReturnConditioned,
    RobustDPO,
)
from recsys_posttrain.algorithms.losers import LoggedVersusLosers
from recsys_posttrain.algorithms.pairs import LoggedVersusSampled, SampledPairs
from recsys_posttrain.errors import TrainingFailed
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.studies.left_out import refused
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.training.posttrain import posttrain

MAIN = Path(__file__).parents[2] / "experiments" / "movielens_main.py"
METHODS = {run.label: run.algorithm for run in load_study(MAIN, [], None, None, None).runs}
ONE_STEP = Training(steps=1, batch_size=16, learning_rate=0.01)
OF_PAIRS = (DPO, IPO, RobustDPO, SDPO, Pessimistic)
OF_DIFFERENCES = {
    KTO: "every logged reward is 3 stars, so none is good or bad; use BC",
    WBC: "where all rewards are equal use BC",
    ReturnConditioned: "which differ (3 and 3 stars); where all are equal use BC",
    FilteredBC: "no logged reward reaches the threshold of 4 stars (the largest is 3)",
}

everyone = pytest.mark.parametrize("algorithm", METHODS.values(), ids=METHODS)


def trained_or_refused(algorithm, tiny, data, reward):
    """Why it was refused; empty where its first step was finite."""
    try:
        policy, _ = posttrain(tiny.policy, data, algorithm, reward, ONE_STEP)
    except TrainingFailed as refusal:
        return str(refusal)
    assert all(each.isfinite().all() for each in policy.state_dict().values())
    return ""


@everyone
def test_a_reward_model_that_does_not_say_how_sure_it_is_serves_no_pairs(algorithm, tiny):
    config = RewardEnsemble(SASRec(dim=8, blocks=1, feed_forward=16, max_length=10), members=1)
    one = config.build(tiny.data.corpus.num_items, 3.5).eval()
    said = trained_or_refused(algorithm, tiny, tiny.data, one)
    if isinstance(algorithm, OF_PAIRS):
        assert "is one model, which does not say how sure it is" in said
        assert "give RewardFactors or several members, or take a method such as OfflinePPO" in said
        assert "\n" not in said
    else:
        assert said == ""


def test_pairs_without_a_filter_ask_nothing_of_it(tiny):
    config = RewardEnsemble(SASRec(dim=8, blocks=1, feed_forward=16, max_length=10), members=1)
    one = config.build(tiny.data.corpus.num_items, 3.5).eval()
    free = SDPO(losers=LoggedVersusLosers(width=None))
    assert trained_or_refused(free, tiny, tiny.data, one) == ""
    for pairs in (SampledPairs(width=0), LoggedVersusSampled(width=0)):
        assert trained_or_refused(DPO(pairs=pairs), tiny, tiny.data, one) == ""
    said = trained_or_refused(DPO(pairs=LoggedVersusSampled()), tiny, tiny.data, one)
    assert "is one model, which does not say how sure it is" in said


@everyone
def test_a_log_of_equal_rewards(algorithm, tiny):
    train = replace(tiny.data.train, rewards_E=torch.full_like(tiny.data.train.rewards_E, 3.0))
    said = trained_or_refused(algorithm, tiny, replace(tiny.data, train=train), tiny.reward)
    expected = OF_DIFFERENCES.get(type(algorithm), "")
    assert said.startswith(f"{type(algorithm).__name__}: ") == bool(expected)
    assert expected in said
    assert bool(said) == bool(expected)


def test_of_a_log_without_rewards_every_method_but_bc_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"user_id": np.repeat(np.arange(40), 6), "timestamp": np.arange(240)})
    frame["item_id"] = np.concatenate([generator.permutation(9)[:6] for _ in range(40)])
    frame.to_csv(tmp_path / "log.csv", index=False)
    study = load_study(MAIN, [], str(tmp_path / "log.csv"), 1, None)
    reasons = refused(study, Pipeline(study.runs[0].setup, tmp_path))
    assert {run.label for run in study.runs} - {"BC"} == set(reasons) & set(METHODS)
    said = "no rewards to read: the log has no ratings; BC needs none"
    assert {reasons[name] for name in METHODS if name != "BC"} == {said}
