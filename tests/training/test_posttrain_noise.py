"""Post-training with a noisy reward: level 0 is nothing, and each noise reaches what it names."""

import copy
import json

import numpy as np
import pytest
import torch

from recsys_posttrain.algorithms import BC, RWR, OfflinePPO
from recsys_posttrain.algorithms.base import heads_of
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.noise import (
    Flips,
    Gaussian,
    Independent,
    ItemBias,
    RareOptimism,
    RewardNoise,
    UserBias,
)
from recsys_posttrain.training.posttrain import posttrain

PLAN = Training(steps=2, batch_size=16, learning_rate=0.02, warmup_steps=1)
PPO = OfflinePPO(samples=2, refresh_every=2)


class Watched:
    """Writes down each step's batch and what the reward model predicts for it."""

    def __init__(self, inner):
        self.inner, self.steps, self.actors = inner, [], None

    def heads(self, dim, num_items):
        return heads_of(self.inner, dim, num_items)

    def loss(self, batch, actors):
        self.actors = actors
        self.steps.append((batch, actors.reward.score_all(batch)))
        return self.inner.loss(batch, actors)


def trained_policy(tiny, algorithm, noise, folder=None):
    """From a model and a log that have the noise, as the pipeline makes them."""
    reference = FrozenPolicy(copy.deepcopy(tiny.policy))
    reward = noise.on_model(tiny.reward, tiny.data, reference)
    log = noise.on_log(tiny.data, reference)
    policy, _ = posttrain(reference, tiny.data, algorithm, reward, PLAN, folder=folder, log=log)
    return policy


def trained(tiny, algorithm, noise=RewardNoise(), folder=None):
    policy = trained_policy(tiny, algorithm, noise, folder)
    return torch.cat([value.flatten() for value in policy.state_dict().values()])


def validations(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    found = [line for line in lines if "loss" not in line]
    assert found
    return found


def test_level_0_is_no_noise_to_the_bit(tiny):
    nothing = RewardNoise(model=Gaussian(0), log=Independent(0, resampled=True), seed=3)
    assert torch.equal(trained(tiny, PPO), trained(tiny, PPO, nothing))


def test_noise_reaches_the_algorithms_that_read_it_and_no_other(tiny):
    """BC reads no rewards, RWR those of the log, OfflinePPO those of the model."""
    on_model, on_log = RewardNoise(model=ItemBias(2.0)), RewardNoise(log=ItemBias(2.0))
    for algorithm, reads_model, reads_log in (
        (BC(), False, False),
        (RWR(), False, True),
        (PPO, True, True),  # the past rewards are an input of the reward model
    ):
        clean = trained(tiny, algorithm)
        assert torch.equal(clean, trained(tiny, algorithm, on_model)) == (not reads_model)
        assert torch.equal(clean, trained(tiny, algorithm, on_log)) == (not reads_log)


@pytest.mark.parametrize("kind", [None, Gaussian, UserBias, RareOptimism])
def test_validation_reads_its_own_histories(tiny, tmp_path, kind):
    """Models that remember the training positions answer about other histories too: what is logged
    at the last step is what models that never trained say about the result."""
    noise = RewardNoise(model=None if kind is None else kind(1.0), seed=2)
    trained = trained_policy(tiny, PPO, noise, tmp_path)
    reference = FrozenPolicy(copy.deepcopy(tiny.policy))
    fresh = noise.on_model(copy.deepcopy(tiny.reward), tiny.data, reference)
    rows = evaluate(trained, tiny.data, fresh, reference, targets=tiny.data.validation).per_user
    last = validations(tmp_path)[-1]
    assert last["step"] == PLAN.steps
    for name in ("ndcg@10", "reward/proxy@10", "kl"):
        assert last[f"validation/{name}"] == pytest.approx(float(rows[name].mean()), rel=1e-5)


@pytest.mark.parametrize("kind", [Gaussian, UserBias, RareOptimism])
def test_frozen_noise_is_the_same_at_every_step(tiny, kind):
    noise = RewardNoise(model=kind(1.0), seed=2)
    watched, clean = Watched(BC()), Watched(BC())
    trained(tiny, watched, noise)
    trained(tiny, clean)
    expected = noise.on_model(tiny.reward, tiny.data, tiny.policy.eval())
    for (batch, noisy_NV), (_, clean_NV) in zip(watched.steps, clean.steps, strict=True):
        assert not torch.equal(noisy_NV, clean_NV)
        tiny.policy.clear_cache()
        torch.testing.assert_close(noisy_NV, expected.score_all(batch), atol=1e-5, rtol=0)


def test_resampled_noise_is_a_function_of_the_step(tiny, tmp_path):
    noise = RewardNoise(model=ItemBias(1.0, resampled=True), log=Flips(0.5, resampled=True))
    first, again, clean = Watched(BC()), Watched(BC()), Watched(BC())
    trained(tiny, first, noise, tmp_path / "noisy")
    trained(tiny, again, noise)
    trained(tiny, clean, folder=tmp_path / "clean")
    biases = []
    for one, same, plain in zip(first.steps, again.steps, clean.steps, strict=True):
        assert torch.equal(one[1], same[1])
        assert torch.equal(one[0].rewards_BT, same[0].rewards_BT)
        assert not torch.equal(one[0].rewards_BT, plain[0].rewards_BT)
        reread = plain[0]._replace(history_rewards_BT=one[0].history_rewards_BT)
        tiny.reward.clear_cache()
        biases.append(one[1] - tiny.reward.score_all(reread))
    for bias_NV in biases:
        np.testing.assert_allclose(bias_NV, bias_NV[:1].expand_as(bias_NV), atol=1e-5)
    assert not torch.allclose(biases[0][0], biases[1][0])
    # Validation is between steps, where resampled noise is its mean, 0.
    assert validations(tmp_path / "noisy") == validations(tmp_path / "clean")


def test_the_log_is_noisy_for_training_and_clean_for_validation(tiny, tmp_path):
    noise = RewardNoise(log=Independent(1.0))
    watched, clean = Watched(BC()), Watched(BC())
    before_E = tiny.data.train.rewards_E.clone()
    trained(tiny, watched, noise, tmp_path / "noisy")
    trained(tiny, clean, folder=tmp_path / "clean")
    expected = noise.on_log(tiny.data, tiny.policy.eval()).sequences.rewards_E
    torch.testing.assert_close(watched.actors.log.rewards_E, expected)
    assert not torch.equal(watched.actors.log.item_mean_V, clean.actors.log.item_mean_V)
    for (noisy, _), (plain, _) in zip(watched.steps, clean.steps, strict=True):
        assert torch.equal(noisy.action_N, plain.action_N)
        assert (noisy.reward_N != plain.reward_N).all()
    assert torch.equal(tiny.data.train.rewards_E, before_E)
    assert validations(tmp_path / "noisy") == validations(tmp_path / "clean")


def test_validation_asks_the_noisy_model(tiny, tmp_path):
    """The mean prediction for the ten items shown moves by the mean bias of these items."""
    values = []
    for name, noise in (("clean", RewardNoise()), ("noisy", RewardNoise(model=ItemBias(5.0)))):
        trained(tiny, BC(), noise, tmp_path / name)
        values.append(validations(tmp_path / name)[-1]["validation/reward/proxy@10"])
    assert abs(values[0] - values[1]) > 0.1
