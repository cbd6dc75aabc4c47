"""The noise of a run: what is refused, what is the same, and that level 0 is nothing at all."""

import pytest
import torch

from recsys_posttrain.config import describe
from recsys_posttrain.errors import UserError
from recsys_posttrain.override import override
from recsys_posttrain.rewards.noise import (
    Flips,
    Gaussian,
    Independent,
    ItemBias,
    PopularityBias,
    RareOptimism,
    RewardNoise,
    Starvation,
    UserBias,
)
from recsys_posttrain.rewards.noise.model import NoisyReward

ERRORS = (Gaussian, Independent, ItemBias, UserBias, PopularityBias, RareOptimism)


@pytest.mark.parametrize("kind", [*ERRORS, Flips, Starvation])
def test_level_0_gives_back_what_it_was_given(small, kind):
    noise = RewardNoise(model=kind(0), seed=3)
    assert noise.on_model(small.reward, small.data, small.reference) is small.reward
    fit_N = torch.arange(4)
    assert noise.on_training(small.data.train, fit_N)[0] is small.data.train
    assert noise.on_training(small.data.train, fit_N)[1] is fit_N
    if kind is not Starvation:
        log = RewardNoise(log=kind(0)).on_log(small.data, small.reference)
        assert log.sequences is small.data.train
        assert log.redraw is None
    assert noise == RewardNoise()


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_changes_the_predictions_and_not_what_they_are_learned_from(small, kind):
    noise = RewardNoise(model=kind(1.0))
    assert isinstance(noise.on_model(small.reward, small.data, small.reference), NoisyReward)
    assert noise.on_training(small.data.train, torch.arange(4))[0] is small.data.train
    assert noise.on_log(small.data, small.reference).sequences is small.data.train
    assert noise.of_training() == RewardNoise()


def test_worse_data_changes_what_is_learned_from_and_not_the_predictions(small):
    train, fit_N = small.data.train, torch.arange(10)
    for noise in (RewardNoise(model=Flips(0.5), seed=2), RewardNoise(model=Starvation(0.5))):
        assert noise.on_model(small.reward, small.data, small.reference) is small.reward
        assert noise.on_log(small.data, small.reference).sequences is train
        assert noise.of_training() == noise
    flipped, same_N = RewardNoise(model=Flips(0.5), seed=2).on_training(train, fit_N)
    assert torch.equal(flipped.rewards_E, Flips(0.5).log(train, 2).rewards_E)
    assert same_N is fit_N
    same, fewer_N = RewardNoise(model=Starvation(0.5)).on_training(train, fit_N)
    assert same is train
    assert len(fewer_N) == 5


def test_noises_that_do_the_same_are_equal():
    assert RewardNoise(seed=5) == RewardNoise()
    both = RewardNoise(model=ItemBias(0), log=ItemBias(1.0), seed=5)
    assert both == RewardNoise(log=ItemBias(1.0), seed=5)
    assert both.of_log() == both
    assert both.of_model() == RewardNoise()
    assert both.of_training() == RewardNoise()
    both = RewardNoise(model=Flips(0.1), log=ItemBias(1.0), seed=5)
    assert both.of_training() == RewardNoise(model=Flips(0.1), seed=5)


@pytest.mark.parametrize("kind", [Flips(0.5), ItemBias(0.5), Gaussian(0.5), UserBias(0.5)])
def test_a_shared_noise_errs_alike_in_both_logs(small, kind):
    """Here the reward model learns from the log of the policy, so its noisy log is that one."""
    noise = RewardNoise(log=kind, seed=2, shared=True)
    given = noise.on_shared_log(small.data, small.reference)
    policys = noise.on_log(small.data, small.reference).sequences
    assert not torch.equal(policys.rewards_E, small.data.train.rewards_E)
    assert torch.equal(given.reward.rewards_E, policys.rewards_E)
    assert given.train is small.data.train
    assert given.validation is small.data.validation
    own = RewardNoise(log=kind, seed=2)
    assert own.on_shared_log(small.data, None) is small.data


def test_what_a_model_depends_on_where_the_noise_is_shared():
    noise = RewardNoise(log=ItemBias(0.5), seed=2, shared=True)
    assert noise.of_training() == noise.of_model() == noise
    assert noise.of_log() == RewardNoise(log=ItemBias(0.5), seed=2)
    assert noise.reads_reference
    assert not RewardNoise(log=Flips(0.5), shared=True).reads_reference
    assert not RewardNoise(log=ItemBias(0.5)).reads_reference
    both = RewardNoise(UserBias(0.1), ItemBias(0.5), 2, shared=True)
    assert both.of_training() == noise
    assert both.of_model() == both
    assert RewardNoise(log=Flips(0), shared=True) == RewardNoise()
    places = [each.place for each in (noise, both, RewardNoise(log=Flips(0.1)), RewardNoise())]
    assert places == ["shared", "model", "log", ""]


@pytest.mark.parametrize("log", [None, Flips(0.5, resampled=True), ItemBias(1.0, resampled=True)])
def test_only_errors_that_are_drawn_once_are_shared(log):
    with pytest.raises(UserError, match=r"^RewardNoise: shared=True needs errors of the log"):
        RewardNoise(log=log, shared=True)


@pytest.mark.parametrize(
    ("where", "noise", "sentence"),
    [
        ("model", "gaussian", "model='gaussian' is not a noise of a model; give a kind of"),
        ("model", ItemBias, "is not a noise of a model"),
        ("log", 0.3, "log=0.3 is not a noise of a log"),
        ("log", Starvation(0.5), r"log=Starvation\(level=0.5\) is not a noise of a log"),
        ("model", Flips(0.5, resampled=True), "is not possible, because a reward model is trained"),
    ],
)
def test_what_is_no_noise_is_refused(where, noise, sentence):
    with pytest.raises(UserError, match=f"^RewardNoise: .*{sentence}"):
        RewardNoise(**{where: noise})


def test_a_level_is_set_and_described_like_any_field():
    noise = override(RewardNoise(model=Gaussian(0.5)), "model.level=0.25")
    assert noise == RewardNoise(model=Gaussian(0.25))
    assert describe(noise) == {
        "class": "RewardNoise",
        "model": {"class": "Gaussian", "level": 0.25, "resampled": False},
        "log": None,
        "seed": 0,
        "shared": False,
    }
    with pytest.raises(UserError, match="model is None and has no field 'level'"):
        override(RewardNoise(), "model.level=0.25")
