"""`advise` from data to verdict, on a small file."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain import advise
from recsys_posttrain.errors import UserError
from recsys_posttrain.plan import Training
from recsys_posttrain.reward_scale import RewardScale, Thresholds
from recsys_posttrain.studies.own_files import OwnFiles
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.ensemble import RewardEnsemble


@pytest.fixture
def small_reward(monkeypatch):
    """One epoch of a small ensemble."""
    small = RewardEnsemble(members=2, rank=2, training=Training(epochs=1))
    small = replace(small, encoder=replace(small.encoder, dim=8, blocks=1, feed_forward=8))

    def setup(dataset, split):
        plan = Training(steps=2, batch_size=8)
        backbone = replace(small.encoder, max_length=8)
        return Setup(dataset, split, backbone=backbone, pretraining=plan, reward=small)

    monkeypatch.setattr(advise, "Setup", setup)


def test_advice_on_a_file(small_ratings_csv, tmp_path, own_cache, small_reward):
    text = advise.advise_on(str(small_ratings_csv), None, None, tmp_path, "cpu")
    lines = text.splitlines()
    assert re.match(r"Advice for small: \d+ items, density", lines[0])
    assert [line[:3] for line in lines[1:6]] == ["1. ", "2. ", "3. ", "4. ", "5. "]
    # Of 60 users a handful judges the model, so no study can be compared.
    assert (
        "whole_field-jester-full-seeds (100 items, density 0.21): how good your model is, is not"
        in text
    )
    assert lines[3].startswith("3. Method: not enough evidence")
    assert "temperature 0.03" in text
    assert re.search("recommend .*pretrain-.* --reward .*reward-.* --tilt", lines[-1])
    again = advise.advise_on(str(small_ratings_csv), None, None, tmp_path, "cpu")
    assert again == text  # from the stages


def test_advice_on_a_reward_model_of_ones_own(tmp_path, own_cache, small_reward, monkeypatch):
    """One that knows what was logged finds what is liked; one of given items cannot tilt."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = [
        (user, item, float(rng.integers(1, 6)), place)
        for user in range(200)
        for place, item in enumerate(rng.permutation(20)[:10])
    ]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    log.to_csv("log.csv", index=False)
    pairs = pd.MultiIndex.from_product([log["user_id"].unique(), log["item_id"].unique()])
    known = log.set_index(["user_id", "item_id"])["rating"].reindex(pairs, fill_value=3.0)
    known.rename("prediction").rename_axis(["user_id", "item_id"]).reset_index().to_parquet(
        "preds.parquet"
    )
    text = advise.advise_on(
        *("log.csv", None, None, tmp_path, "cpu"),
        thresholds=Thresholds(liked=3.0),
        changes=["repeats=allowed"],
        own=OwnFiles("preds.parquet"),
    )
    # The ratings are dice, so that no other model than this one finds what is liked.
    assert re.search(r"temperature 0\.03 +\+\.\d+ \[\+", text)
    asked = "recsys-posttrain run movielens_main --dataset log.csv --reward-model preds.parquet"
    assert asked in text.splitlines()[-1]
    Path("mine.py").write_text(
        "import recsys_posttrain as rp\n"
        "def reward(frame):\n    return frame['item_id'] % 5\n"
        "REWARD_MODEL = rp.RewardFunction(reward)\n"
    )
    shutil.rmtree("stages")
    with pytest.raises(UserError, match=r"advise weighs .* RewardFunction scores given items only"):
        advise.advise_on(*("log.csv", None, None, tmp_path, "cpu"), own=OwnFiles("mine.py"))
    assert not Path("stages").exists()


def test_the_logs_own_estimate_where_it_has_propensities(tmp_path, own_cache, small_reward):
    """Items are drawn evenly, so the propensity is 1 of those that may still be shown."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "user_id": f"u{user}",
            "item_id": f"v{item}",
            "rating": float(1 + (item % 5)),
            "timestamp": place,
            "propensity": 1 / (20 - place),
        }
        for user in range(150)
        for place, item in enumerate(rng.permutation(20)[:12])
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "log.csv", index=False)
    text = advise.advise_on(str(tmp_path / "log.csv"), None, None, tmp_path, "cpu")
    # 30 test users: too few to be believed, which is said and not used.
    assert "the tilt minus Pretrained, NDCG@10 liked" in text
    assert "propensities, for an estimate by your own log" not in text


def test_the_gain_is_the_mean_difference_of_the_estimates_that_can_be_believed():
    """The tilt at temperature t gains 1 / t at half of the targets and 2 / t at the others. The
    coldest two put everything on one target."""
    users = 500

    def rows(algorithm, users):
        t = getattr(algorithm, "temperature", float("inf"))
        weight = np.ones(users)
        if t < 0.2:
            weight[:] = 1e-6
            weight[0] = users
        known = {"user_id": np.arange(users), "item_id": 1, "reward": 4.0, "total_reward": 4.0}
        gain = np.where(np.arange(users) % 2, 1.0, 2.0) / t
        frame = pd.DataFrame(known | {"ndcg@10": 0.0, "reward/adjusted-dr": 3 + gain})
        return frame.assign(**{"ope/weight": weight, "ope/overlap": 1.0})

    pipeline = SimpleNamespace(
        setup=Setup(),
        data=SimpleNamespace(corpus=SimpleNamespace(reward_scale=RewardScale())),
    )
    pipeline.evaluate = lambda run: rows(run.algorithm, 300)
    few = advise.own_gains(pipeline)
    assert (few.by, few.has_propensities) == ("NDCG@10 liked", True)
    assert "effective sample size is below 400 (300)" in few.distrust
    pipeline.evaluate = lambda run: rows(run.algorithm, users)
    own = advise.own_gains(pipeline)
    assert own.by == "reward adjusted-dr"
    assert own.distrust == ""
    assert sorted(own.gains) == [0.3, 1.0, 3.0]
    for t, (value, low, high) in own.gains.items():
        half = 1.96 * 0.5 / t / np.sqrt(users)
        assert value == pytest.approx(1.5 / t)
        assert (low, high) == pytest.approx((1.5 / t - half, 1.5 / t + half), rel=0.01)


def test_a_study_with_the_projected_correlation_asks_for_it(
    small_ratings_csv, tmp_path, own_cache, small_reward, monkeypatch
):
    """By the judge, since a file has no truth; the study has its own judge to compare with."""
    folder = tmp_path / "studies" / "mine"
    shutil.copytree(advise.RESULTS / "noise_vs_quality-jester", folder)
    monkeypatch.setattr(advise, "is_known", lambda _: True)
    text = advise.advise_on(str(small_ratings_csv), None, folder.parent, tmp_path, "cpu")
    assert re.search(
        r"noise_vs_quality-jester .* your model, \[-?\.\d+, -?\.\d+\], is outside|"
        r"nearest to your projected correlation \(judge\) .*, by projected correlation \(judge\)",
        text,
    )


def test_studies_are_found_by_what_they_hold(small_ratings_csv, tmp_path, own_cache, small_reward):
    """A study of noise in a folder of any name; one without noise, and a sweep, are not."""
    studies = tmp_path / "studies"
    for name, source in (
        ("mine", "noise_vs_quality-semi-ml-100k"),
        ("noise", "sweep_jester-jester"),
    ):
        shutil.copytree(advise.RESULTS / source, studies / name)
    (studies / "unfinished").mkdir()
    text = advise.advise_on(str(small_ratings_csv), None, studies, tmp_path, "cpu")
    listed = text.partition("Studies in")[2]
    assert re.findall(r"^  (\S+) \(", listed, re.MULTILINE) == ["mine"]
    shutil.rmtree(studies / "mine")
    with pytest.raises(UserError, match="studies holds no study that compares methods; give"):
        advise.advise_on(str(small_ratings_csv), None, studies, tmp_path, "cpu")
