"""A study whose seeds are also those of pretraining and of the reward model, and one without."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain.models.checkpoint import load_policy
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.study import run_study

STUDY = (Path(__file__).parents[1] / "small_study.py").read_text(encoding="utf-8")
ONE = STUDY + "RUNS = [BASE]\n"
TWO = (
    STUDY
    + """
from recsys_posttrain.rewards.noise import ItemBias, RewardNoise
noisy = RewardNoise(model=ItemBias(1.0))
RUNS = [BASE, replace(BASE, name="noisy", noise=noisy)]
"""
)
WIDE = (
    STUDY
    + """
WIDE = replace(SETUP, backbone=SASRec(**SIZES | dict(feed_forward=24)), name="wide")
RUNS = [BASE, replace(BASE, name="BC, wide", setup=WIDE)]
"""
)


@pytest.fixture(autouse=True, scope="module")
def world(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        for name, text in (("one", ONE), ("two", TWO), ("wide", WIDE)):
            Path(f"{name}.py").write_text(text)
        yield


@pytest.fixture(scope="module")
def run(world, small_ratings_csv):
    def on_the_small_file(file, full_seeds, output="runs", workers=1):
        options = Options(dataset=str(small_ratings_csv), seeds=2, workers=workers)
        options = options._replace(full_seeds=full_seeds, output=Path(output))
        return run_study(Path(file), options)

    return on_the_small_file


def kinds(folder):
    """How many stages of each kind the study has."""
    names = pd.Series([path.name for path in (folder.parent / "stages").iterdir()])
    return names.str.rpartition("-")[0].value_counts().to_dict()


def seeds_of(folder):
    rows = pd.read_parquet(folder / "rows.parquet")
    return rows.groupby("method")["seed"].unique().map(sorted).to_dict()


def test_full_seeds_have_a_policy_and_a_reward_model_each(run, capsys, small_ratings_csv):
    folder = run("two.py", True, "full", workers=2)
    found = kinds(folder)
    assert (found["pretrain"], found["reward"], found["posttrain"]) == (2, 2, 4)
    methods = ("Popularity", "Pretrained", "BC", "noisy")
    assert seeds_of(folder) == {name: [0, 1] for name in methods}
    record = json.loads((folder / "run.json").read_text())
    assert record["full_seeds"] is True
    ends = ("BC/0", "BC/1", "noisy/0", "noisy/1")
    shared = {f"{kind}/{seed}" for kind in ("pretrained", "reward") for seed in (0, 1)}
    assert record["stages"].keys() == {*shared, *ends}
    folders = [record["stages"][name]["folder"] for name in sorted(shared)]
    assert len(set(folders)) == 4
    text = (folder / "table.md").read_text()
    assert "2 seeds: 0, 1 of pretraining, reward model and post-training" in text
    assert "One run stands for all seeds" not in text
    assert f"--dataset {small_ratings_csv} --seeds 2 --full-seeds" in record["command"]
    assert len(re.findall(r"pretrained policy.*\d s", capsys.readouterr().out)) == 2

    quality = pd.read_parquet(folder / "reward_models.parquet")
    study = load_study(Path("two.py"), [], str(small_ratings_csv), 2, None, full_seeds=True)
    setup = study.runs[0].setup
    first, second = (Pipeline(replace(setup, seed=seed), Path("full")).rewards for seed in (0, 1))
    by_hand = (first.measure()["rmse"] + second.measure()["rmse"]) / 2
    pd.testing.assert_series_equal(quality["rmse"], by_hand)
    assert not first.measure()["rmse"].equals(second.measure()["rmse"])
    assert "Mean over seeds 0, 1" in (folder / "reward_models.md").read_text()
    noise = study.runs[1].noise
    reports = [each.measure_noise(noise)["model"]["rmse"] for each in (first, second)]
    assert record["noise"]["noisy"]["model"]["rmse"] == pytest.approx(sum(reports) / 2)


def test_without_them_all_seeds_start_from_one_policy(run):
    folder = run("two.py", False, "shared")
    found = kinds(folder)
    assert (found["pretrain"], found["reward"], found["posttrain"]) == (1, 1, 4)
    assert seeds_of(folder) == {"Popularity": [0], "Pretrained": [0], "BC": [0, 1], "noisy": [0, 1]}
    record = json.loads((folder / "run.json").read_text())
    assert record["full_seeds"] is False
    text = (folder / "table.md").read_text()
    assert "2 seeds: 0, 1 of post-training, from one pretrained policy and one reward" in text
    assert "One run stands for all seeds: Popularity, Pretrained." in text
    assert "Seed 0." in (folder / "reward_models.md").read_text()


def test_seed_0_is_the_same_in_both_and_the_file_may_ask_for_it(run, small_ratings_csv):
    """And a full seed is what a setup of that seed gives alone."""
    folders = Path("full/two-small-full-seeds"), Path("shared/two-small")
    full, shared = (json.loads((each / "run.json").read_text())["stages"] for each in folders)
    assert full["BC/0"]["folder"] == shared["BC/0"]["folder"]
    assert full["BC/1"]["folder"] != shared["BC/1"]["folder"]
    Path("asks.py").write_text(ONE + "FULL_SEEDS = True\n")
    study = load_study(Path("asks.py"), [], str(small_ratings_csv), 2, None)
    assert (study.full_seeds, study.name) == (True, "asks-small-full-seeds")
    (run_1,) = (each for seed, each in study.with_seeds() if seed == 1 and each.is_trained)
    alone = Pipeline(replace(study.runs[0].setup, seed=1), Path("full"))
    assert run_1.setup == alone.setup
    assert alone.keys.posttrain(run_1).folder.name == full["BC/1"]["folder"]
    assert load_policy(alone.pretrain()).content_hash == alone.data.corpus.content_hash


def test_a_study_may_compare_setups(run):
    """On the same targets, each with its own pretrained policy; here with one reward model."""
    folder = run("wide.py", False, "setups")
    assert {name: kinds(folder)[name] for name in ("pretrain", "reward")} == {
        "pretrain": 2,
        "reward": 1,
    }
    rows = pd.read_parquet(folder / "rows.parquet")
    expected = ["Popularity", "Pretrained SASRec", "Pretrained wide", "BC", "BC, wide"]
    assert rows["method"].unique().tolist() == expected
    by_method = {name: frame["rank"].tolist() for name, frame in rows.groupby("method")}
    assert by_method["Pretrained SASRec"] != by_method["Pretrained wide"]
    record = json.loads((folder / "run.json").read_text())
    assert {"pretrained SASRec", "pretrained wide", "reward SASRec", "reward wide"} <= set(
        record["stages"]
    )
    quality = pd.read_parquet(folder / "reward_models.parquet")
    assert [name for name in quality.index if name.startswith("Reward")] == ["RewardEnsemble"]
