"""What a pipeline measures as the axis: by the truth in test rows of a world, by a judge elsewhere."""

import numpy as np
import pytest
from sealed_world import Made, pipeline_in, run_in

from recsys_posttrain.evaluation.projected import projected_correlation
from recsys_posttrain.rewards.noise import Flips, ItemBias, RewardNoise

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


def test_validation_never_asks_for_the_truth(tmp_path):
    rewards = pipeline_in(Made(None), tmp_path).rewards
    noise = RewardNoise(model=ItemBias(5.0))
    assert not [
        name for name in rewards.measure_noise(noise, "validation")["model"] if "pro" in name
    ]
    with pytest.raises(AssertionError, match="the truth was asked for"):
        rewards.measure_noise(noise)
    assert run_in(Made(None)).noise == RewardNoise()
