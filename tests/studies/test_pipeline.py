"""Stages: what each depends on, and that a stage read back is what was made."""

import copy
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from recsys_posttrain.algorithms import BC, ExpRSFT, OfflinePPO
from recsys_posttrain.data import GlobalTime, LeaveOneOut, RatingsFile, UserHoldout
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.evaluation.judged_value import judged_value
from recsys_posttrain.losses import GBCE, SampledSoftmax
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.checkpoint import load_policy
from recsys_posttrain.override import override
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.control import ConstantRewards, ShuffledRewards
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.rewards.noise import Flips, ItemBias, RewardNoise, Starvation
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.training.judge import train_judge
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.pretrain import pretrain
from recsys_posttrain.training.reward import train_reward
from recsys_posttrain.untrained import Given, Popularity

PLAN = Training(epochs=2, batch_size=16, patience=2)
ENCODER = SASRec(dim=8, blocks=1, feed_forward=16, max_length=10, history_rewards=True)
ROLLOUT = "reward/judge-rollout@5"

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def run(small_ratings_csv):
    setup = Setup(
        dataset=RatingsFile(str(small_ratings_csv)),
        backbone=SASRec(dim=8, blocks=1, feed_forward=16, max_length=10),
        pretraining=PLAN,
        reward=RewardEnsemble(ENCODER, members=2, rank=4, training=PLAN),
    )
    return Run(BC(), setup, posttraining=Training(epochs=1, batch_size=16))


def changed(run, **change):
    """A run with other fields, of itself or of its setup."""
    own = {name: change.pop(name) for name in [*change] if name in Run.__dataclass_fields__}
    return replace(run, **own, setup=replace(run.setup, **change))


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    """A pipeline with every stage of one run made."""
    pipeline = Pipeline(run.setup, tmp_path_factory.mktemp("runs"))
    pipeline.evaluate(pipeline.posttrain(run))
    pipeline.evaluate(replace(run, algorithm=Popularity()))
    return pipeline


def assert_equal(model, other):
    assert model.state_dict().keys() == other.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_stages_hold_what_the_functions_make(made, run):
    policy, fitted = pretrain(made.data, run.setup.backbone, PLAN, 0)
    assert_equal(made.load_pretrained(), policy)
    reward, _ = train_reward(made.data, run.setup.reward, 0)
    assert_equal(made.rewards.load(), reward)
    better, _ = posttrain(policy, made.data, BC(), reward, run.posttraining, 0)
    folder = made.posttrain(run)
    assert_equal(load_policy(folder).policy, better)
    assert fitted.steps == 8

    rows = evaluate(better, made.data, reward, policy).per_user
    pd.testing.assert_frame_equal(made.evaluate(folder), rows)
    ranker = Popularity().ranker(Given(made.data))
    popular = evaluate(ranker, made.data, reward, made.load_pretrained()).per_user
    pd.testing.assert_frame_equal(made.evaluate(replace(run, algorithm=Popularity())), popular)


def folders(pipeline, run):
    """The names of the stages of a run, without making them."""
    keys = pipeline.keys
    stages = {"pretrain": keys.pretrain, "posttrain": keys.posttrain(run)}
    stages["reward"] = keys.reward(run.noise)
    return {name: stage.folder.name for name, stage in stages.items()}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "another"}, set()),
        ({"seed": 1}, {"posttrain"}),
        ({"algorithm": ExpRSFT()}, {"posttrain"}),
        ({"algorithm": ExpRSFT(temperature=2.0)}, {"posttrain"}),
        ({"posttraining": Training(epochs=2, batch_size=16)}, {"posttrain"}),
        ({"reward": RewardEnsemble(ENCODER, members=3)}, {"reward", "posttrain"}),
        ({"noise": RewardNoise(model=ItemBias(0.5))}, {"posttrain"}),
        ({"noise": RewardNoise(log=ItemBias(0.5))}, {"posttrain"}),
        ({"noise": RewardNoise(model=ItemBias(0), log=Flips(0), seed=3)}, set()),
        ({"noise": RewardNoise(model=Starvation(0.5))}, {"reward", "posttrain"}),
        ({"noise": RewardNoise(model=Flips(0.5))}, {"reward", "posttrain"}),
        ({"control": ShuffledRewards()}, {"posttrain"}),
        ({"control": ConstantRewards()}, {"posttrain"}),
        ({"pretraining": Training(epochs=3)}, {"pretrain", "posttrain"}),
        ({"pretraining_loss": GBCE()}, {"pretrain", "posttrain"}),
        ({"backbone": SASRec(dim=16)}, {"pretrain", "posttrain"}),
        ({"split": LeaveOneOut(minimum_item_ratings=6)}, {"pretrain", "reward", "posttrain"}),
        ({"split": GlobalTime()}, {"pretrain", "reward", "posttrain"}),
        ({"split": UserHoldout(seed=1)}, {"pretrain", "reward", "posttrain"}),
    ],
)
def test_a_change_makes_exactly_the_stages_that_depend_on_it(made, run, change, expected):
    other = changed(run, **change)
    before = folders(made, run)
    after = folders(Pipeline(other.setup, made.root), other)
    assert {name for name in before if before[name] != after[name]} == expected


def test_the_seed_of_a_setup_is_that_of_the_policy_and_of_the_reward_model(made, run):
    other = replace(run, setup=replace(run.setup, seed=1))
    before, after = folders(made, run), folders(Pipeline(other.setup, made.root), other)
    assert all(before[name] != after[name] for name in before)


def test_a_run_of_another_setup_is_refused(made, run):
    other = replace(run, setup=replace(run.setup, seed=1, name="mine"))
    with pytest.raises(UserError, match=r"BC is of another setup \(mine\); ask pipeline.at"):
        made.posttrain(other)
    beside = made.at(other.setup)
    assert beside.data is made.data
    assert made.at(other.setup) is beside
    assert made.at(run.setup) is made
    assert made.at(replace(run.setup, split=GlobalTime())).data is not made.data


def test_the_loss_of_a_run_is_what_pretraining_minimises(run, tmp_path):
    sampled = override(
        changed(run, pretraining_loss=SampledSoftmax()), "pretraining_loss.negatives=5"
    )
    pipeline = Pipeline(sampled.setup, tmp_path)
    loss = SampledSoftmax(negatives=5)
    policy, _ = pretrain(pipeline.data, run.setup.backbone, PLAN, 0, loss=loss)
    assert_equal(pipeline.load_pretrained(), policy)


def test_algorithms_with_other_parameters_have_other_stages(made, run):
    names = [
        folders(made, replace(run, algorithm=algorithm))["posttrain"]
        for algorithm in (
            ExpRSFT(),
            ExpRSFT(temperature=2.0),
            OfflinePPO(),
            OfflinePPO(samples=3),
            BC(),
        )
    ]
    assert len(set(names)) == 5


def test_the_data_counts_by_its_content_not_by_its_name(made, run, tmp_path, small_ratings_csv):
    copied = tmp_path / "other.csv"
    copied.write_bytes(small_ratings_csv.read_bytes())
    same = changed(run, dataset=RatingsFile(str(copied)))
    assert folders(Pipeline(same.setup, made.root), same) == folders(made, run)
    lines = copied.read_text().splitlines()
    copied.write_text("\n".join(lines[:-1]) + "\n")
    other = folders(Pipeline(same.setup, made.root), same)
    assert not set(other.values()) & set(folders(made, run).values())


def test_a_second_pipeline_trains_nothing_and_says_what_it_reads(made, run, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(pl.Trainer, "fit", fail)
    monkeypatch.setattr(Pipeline, "_rows", fail)
    told = []
    again = Pipeline(run.setup, made.root, on_stage=told.append)
    rows = again.evaluate(again.posttrain(run))
    pd.testing.assert_frame_equal(rows, made.evaluate(made.posttrain(run)))
    assert [done.title for done in told] == ["BC, seed 0", f"test rows of {told[0].folder.name}"]
    assert all(done.folder.is_dir() and done.seconds is None for done in told)


def test_all_algorithms_start_from_one_policy_and_leave_it_alone(made, run):
    before = copy.deepcopy(made.load_pretrained().state_dict())
    made.posttrain(replace(run, algorithm=ExpRSFT()))
    for name, value in made.load_pretrained().state_dict().items():
        assert torch.equal(before[name], value)
    assert_equal(made.load_pretrained(), load_policy(made.pretrain()).policy)


def test_the_quality_of_the_reward_model_is_a_stage(made):
    frame = made.rewards.measure()
    assert "RewardEnsemble" in frame.index
    assert len(frame) >= 5
    assert len(list((made.root / "stages").glob("reward-quality-*"))) == 1


def test_runs_with_and_without_noise_share_the_reward_model(made, run):
    """The rows of a noisy run ask its own model; level 0 is the run without noise."""
    noise = RewardNoise(model=ItemBias(2.0), log=ItemBias(1.0))
    before = len(list((made.root / "stages").glob("reward-*")))
    folder = made.posttrain(run)
    noisy, clean = made.evaluate(folder, noise=noise), made.evaluate(folder)
    pd.testing.assert_frame_equal(
        noisy.drop(columns="reward/proxy@10"), clean.drop(columns="reward/proxy@10")
    )
    data, reference = made.data, made.load_pretrained()
    expected = evaluate(
        load_policy(folder).policy,
        data,
        noise.on_model(made.rewards.load(), data, reference),
        reference,
    ).per_user
    pd.testing.assert_frame_equal(noisy, expected)
    assert (noisy["reward/proxy@10"] - clean["reward/proxy@10"]).abs().max() > 0.1
    nothing = RewardNoise(model=ItemBias(0), log=Flips(0), seed=4)
    assert made.posttrain(replace(run, noise=nothing)) == folder
    pd.testing.assert_frame_equal(made.evaluate(folder, noise=nothing), clean)
    assert len(list((made.root / "stages").glob("reward-*"))) == before


def test_a_reward_model_of_worse_data_is_a_stage_of_its_own(made, run):
    noise = RewardNoise(model=Flips(0.5), seed=1)
    rows = made.evaluate(made.posttrain(run), noise=noise)
    expected, _ = train_reward(made.data, run.setup.reward, 0, noise=noise)
    assert_equal(made.rewards.load(noise), expected)
    again = Pipeline(run.setup, made.root)
    assert_equal(again.rewards.load(noise), expected)
    assert not torch.equal(expected.item_factor, made.rewards.load().item_factor)
    clean = made.evaluate(made.posttrain(run))
    assert not rows["reward/proxy@10"].equals(clean["reward/proxy@10"])
    report = made.rewards.measure_noise(noise)["model"]
    assert again.rewards.measure_noise(noise) == {"model": report}
    assert report["error_deviation"] > 0
    quality = made.rewards.measure().loc["RewardEnsemble"]
    for name in ("rmse", "pairwise_accuracy"):
        assert report[f"clean_{name}"] == pytest.approx(quality[name], rel=1e-5)
        assert report[name] != report[f"clean_{name}"]


def test_damaged_weights_are_named_and_other_stages_stay(made, run, tmp_path):
    root = tmp_path / "runs"
    shutil.copytree(made.root, root)
    damaged = Pipeline(run.setup, root)
    path = damaged.keys.reward().folder / "reward.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=rf"{path} is damaged: .* delete the folder {path.parent}"):
        damaged.rewards.load()
    assert_equal(damaged.load_pretrained(), made.load_pretrained())


def test_a_judge_where_the_split_has_users_for_one(made, run):
    assert made.rewards.load_judge() is None
    assert made.rewards.train_judge() is None
    assert made.rewards.measure_judge() is None
    popularity = replace(run, algorithm=Popularity())
    assert "reward/judge@10" not in made.evaluate(popularity).columns
    other = Pipeline(replace(run.setup, split=UserHoldout(0.3, 0.2, 0.2, 0.1, 0.2)), made.root)
    judge, _ = train_judge(other.data, run.setup.reward, 0)
    assert_equal(other.rewards.load_judge(), judge)
    assert "RewardEnsemble" in other.rewards.measure_judge().index
    factors = RewardFactors(rank=2, rounds=2)
    another = Pipeline(replace(other.setup, judge=factors), made.root)
    assert another.keys.reward() == other.keys.reward()
    assert_equal(another.rewards.load_judge(), train_judge(other.data, factors, 0)[0])
    assert "RewardFactors" in another.rewards.measure_judge().index
    rows = other.evaluate(other.pretrain())
    expected = evaluate(
        other.load_pretrained(),
        other.data,
        other.rewards.load(),
        other.load_pretrained(),
        judge=judge,
    )
    opinion = judged_value(other.load_pretrained(), judge, other.data.test)
    pd.testing.assert_frame_equal(rows, expected.per_user.join(opinion))
    assert not rows["reward/judge@10"].equals(rows["reward/proxy@10"])
    popular = other.evaluate(popularity)
    ranker = Popularity().ranker(Given(other.data))
    opinion = judged_value(ranker, judge, other.data.test)
    pd.testing.assert_series_equal(popular[ROLLOUT], opinion[ROLLOUT])
    assert "reward/judge@10" in popular
    assert ROLLOUT not in other.evaluate(popularity, "validation")
