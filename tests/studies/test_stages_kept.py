"""In a process that runs for days, models and logs with a noise's errors do not pile up."""

import gc
import weakref
from types import SimpleNamespace

import pytest

from recsys_posttrain.algorithms import BC
from recsys_posttrain.rewards.control import ShuffledRewards
from recsys_posttrain.rewards.noise import Flips, ItemBias, RewardNoise, Starvation
from recsys_posttrain.studies.reward_stages import RewardStages
from recsys_posttrain.studies.run import Run

AT_A_TIME = 4


class Large:
    """Stands for a reward model or a log."""


@pytest.fixture
def stages(monkeypatch):
    """`made`: weak references to all that was made."""
    made = []

    def make(self, asked):
        new = Large()
        made.append(weakref.ref(new))
        return new

    for name in ("_load_trained", "_with_errors", "_log_with_errors", "_by_control"):
        monkeypatch.setattr(RewardStages, name, make)
    data = SimpleNamespace(corpus=SimpleNamespace(reward_scale=SimpleNamespace(missing="")))
    stages = RewardStages(SimpleNamespace(data=data))
    stages.all = made
    return stages


def alive(made):
    gc.collect()
    return sum(each() is not None for each in made)


def asked_for(stages, seeds):
    """What a study asks for that draws its noise anew for each seed."""
    for seed in range(seeds):
        noise = RewardNoise(model=ItemBias(0.1), log=Flips(0.1), seed=seed)
        stages.given(Run(BC(), noise=noise))
        stages.load(RewardNoise(model=Starvation(0.1), seed=seed))
        stages.given(Run(BC(), control=ShuffledRewards(seed)))


def test_few_are_kept(stages):
    asked_for(stages, 25)
    assert len(stages.all) == 4 * 25
    assert alive(stages.all) == 4 * AT_A_TIME


def test_the_latest_are_shared(stages):
    asked_for(stages, AT_A_TIME)
    asked_for(stages, AT_A_TIME)
    assert len(stages.all) == 4 * AT_A_TIME
