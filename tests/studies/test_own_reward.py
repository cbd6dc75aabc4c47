"""A reward model of the user's own in a study: its rows, its quality, what cannot be with it."""

import json
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.study import run_study

STUDY = Path(__file__).parents[1] / "own_reward_study.py"


@pytest.fixture(scope="module")
def done(tmp_path_factory, small_ratings_csv):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        yield run_study(STUDY, Options(dataset=str(small_ratings_csv), seeds=1, workers=1))


def test_the_rows_and_the_quality_of_a_regressor(done):
    rows = pd.read_parquet(done / "rows.parquet")
    assert set(rows["method"]) == {"Popularity", "Pretrained", "BC", "ASFT(model)"}
    assert rows["reward/proxy@10"].between(1, 5).all()
    quality = (done / "reward_models.md").read_text()
    assert "RewardRegressor" in quality
    assert "gradient boosting" in quality


def test_what_needs_sums_is_left_out_with_its_reason(done):
    left_out = json.loads((done / "run.json").read_text())["left_out"]
    assert left_out.keys() == {"RewardArgmax", "Tilt", "needs sums"}
    for name in ("RewardArgmax", "Tilt"):
        assert left_out[name].startswith("RewardRegressor scores given items only")
    assert "ASFT(reward=model_reward, baseline=user_mean), GRPO()" in left_out["needs sums"]
