"""What a pipeline measures as the axis, by the truth in test rows of a world alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sealed_world import Made, pipeline_in, run_in

from recsys_posttrain.evaluation.projected import projected_correlation
from recsys_posttrain.rewards.noise import Flips, ItemBias, RewardNoise, TruthShare
from recsys_posttrain.training.reward import train_reward

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_world_is_measured_by_its_truth_in_test_rows_alone(tmp_path):
    pipeline = pipeline_in(Made(1), tmp_path)
    rewards, noise = pipeline.rewards, RewardNoise(model=ItemBias(5.0), log=Flips(0.5))
    report = rewards.measure_noise(noise)
    targets, truth = pipeline.data.test, pipeline.load_truth()
    expected = projected_correlation(
        rewards.load_noisy(noise),
        (truth.state_UR[targets.users_N], truth.factor_VR),
        pipeline.load_pretrained(),
        pipeline.data,
        targets,
    )
    names = ("projected_truth", "projected_truth_low", "projected_truth_high")
    assert [report["model"][name] for name in names] == list(expected[:3])
    assert np.isfinite(expected.value)
    assert report["model"]["clean_projected_truth"] != report["model"]["projected_truth"]
    assert "projected_truth" not in report["log"], "flips have no field"
    assert rewards.measure_axis(noise, "validation") == {}, "no truth, and no judge"


def test_the_axis_of_a_noisy_log_is_that_of_a_model_with_its_errors(tmp_path):
    rewards = pipeline_in(Made(1), tmp_path).rewards
    both = RewardNoise(model=ItemBias(5.0), log=ItemBias(5.0), seed=3)
    report = rewards.measure_noise(both)
    assert report["log"]["projected_truth"] == report["model"]["projected_truth"]


def test_the_more_truth_the_better_and_validation_gets_none_of_it(tmp_path):
    world = Made(1)
    pipeline = pipeline_in(world, tmp_path)
    shares = [RewardNoise(model=TruthShare(level)) for level in (0.0, 0.5, 0.95)]
    found = [pipeline.rewards.measure_axis(noise)["projected_truth"] for noise in shares]
    assert found[0] < found[1] < found[2]
    runs = [replace(run_in(world), noise=noise) for noise in shares]
    folders = [pipeline.posttrain(run) for run in runs]
    assert len(set(folders)) == 3
    tested = [pipeline.evaluate(folders[0], noise=noise)["reward/proxy@10"] for noise in shares]
    assert not tested[1].equals(tested[0])
    blind = pipeline_in(Made(None), tmp_path / "blind")
    folder = blind.pretrain()
    asked = [blind.evaluate(folder, "validation", noise) for noise in shares]
    assert asked[1].equals(asked[0])
    for ask in (
        lambda: blind.posttrain(replace(runs[1], setup=blind.setup)),
        lambda: blind.evaluate(folder, "test", shares[1]),
    ):
        with pytest.raises(AssertionError, match="the truth was asked for"):
            ask()


@pytest.mark.parametrize("kind", [Flips(0.5), ItemBias(5.0)])
def test_a_shared_noise_trains_a_reward_model_of_its_own(tmp_path, kind):
    pipeline = pipeline_in(Made(1), tmp_path)
    rewards, run = pipeline.rewards, run_in(Made(1))
    noise = RewardNoise(log=kind, seed=1, shared=True)
    alone = RewardNoise(log=kind, seed=1)
    assert rewards.train(noise) != rewards.train(alone) == rewards.train()
    (_, one), (_, other) = (rewards.given(replace(run, noise=each)) for each in (noise, alone))
    assert one is other
    data = noise.on_shared_log(pipeline.data, pipeline.load_pretrained())
    expected, _ = train_reward(data, run.setup.reward, 0)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(tensor, rewards.load(noise).state_dict()[name])
    report = rewards.measure_noise(noise)
    assert set(report) == {"model", "log"}
    for name in ("projected_truth", "rmse"):
        assert report["model"][name] != report["model"][f"clean_{name}"]
    assert replace(run, noise=noise).row["place"] == "shared"
    assert "in the log and the model" in replace(run, noise=noise).title


def test_validation_never_asks_for_the_truth(tmp_path):
    rewards = pipeline_in(Made(None), tmp_path).rewards
    noise = RewardNoise(model=ItemBias(5.0))
    assert not [
        name for name in rewards.measure_noise(noise, "validation")["model"] if "pro" in name
    ]
    with pytest.raises(AssertionError, match="the truth was asked for"):
        rewards.measure_noise(noise)
    assert run_in(Made(None)).noise == RewardNoise()
