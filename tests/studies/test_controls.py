"""Runs with a control, through the whole pipeline; what each control does, rewards/test_control."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_posttrain.algorithms import ASFT, BC, RWR, ExpRSFT, OfflinePPO
from recsys_posttrain.algorithms.signals import learned_value, user_mean
from recsys_posttrain.data import MovieLens100K, RatingsFile, UserHoldout
from recsys_posttrain.errors import UserError
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.checkpoint import load_policy
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.control import ConstantRewards, ShuffledRewards, TrueRewards
from recsys_posttrain.rewards.noise import ItemBias, NoisyLog, RewardNoise
from recsys_posttrain.studies.controls import controls
from recsys_posttrain.studies.load import Study, load_study
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.reward import train_reward
from recsys_posttrain.worlds.tabular import Tabular

PLAN = Training(epochs=2, batch_size=16, learning_rate=0.01, patience=2)
SIZES = dict(dim=8, blocks=1, feed_forward=16, max_length=8)
SMALL = Setup(
    backbone=SASRec(**SIZES),
    pretraining=PLAN,
    reward=RewardEnsemble(SASRec(**SIZES, history_rewards=True), members=2, rank=2, training=PLAN),
)
STEPS = Training(steps=5, batch_size=16, learning_rate=0.01)
# Two kinds of users, who are shown the same six items and value them in opposite ways.
WORLD = Tabular(
    reward=((5.0, 4.0, 3.0, 2.0, 1.0, 1.0), (4.0, 1.0, 1.0, 3.0, 2.0, 5.0)),
    reference=((0.1, 0.1, 0.1, 0.2, 0.2, 0.3), (0.1, 0.3, 0.2, 0.1, 0.2, 0.1)),
    contexts=(0.5, 0.5),
    users=60,
    events=8,
)


@dataclass(frozen=True)
class Scattered:
    """WORLD, except that what its log says is the true reward and an error of its own."""

    name: str = "scattered"

    def content_hash(self):
        return "2" * 64

    def load(self):
        clean = WORLD.load()
        error_E = np.random.default_rng(0).normal(size=len(clean.frame))
        frame = clean.frame.assign(rating=clean.frame["rating"] + error_E)
        return replace(clean, name=self.name, frame=frame, content_hash=self.content_hash())

    def truth(self):
        return WORLD.truth()


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def even_log(tmp_path_factory):
    """40 users, 8 items; half of the ratings are 2 and half are 4, so that their mean is 3 to the
    bit."""
    path = tmp_path_factory.mktemp("ratings") / "even.csv"
    lines = [f"{u},{(3 * u + k) % 8},{2 + 2 * (k % 2)},{k}" for u in range(40) for k in range(6)]
    path.write_text("\n".join(["user_id,item_id,rating,timestamp", *lines]) + "\n")
    return RatingsFile(str(path))


@pytest.fixture(scope="module")
def logged(even_log, tmp_path_factory):
    return Pipeline(replace(SMALL, dataset=even_log), tmp_path_factory.mktemp("logged"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return Pipeline(replace(SMALL, dataset=WORLD), tmp_path_factory.mktemp("world"))


def run_of(pipeline, algorithm=BC(), **changes):
    return replace(Run(algorithm, pipeline.setup, posttraining=STEPS), **changes)


def weights(pipeline, **changes):
    """Of the post-trained policy, in one row."""
    folder = pipeline.posttrain(run_of(pipeline, **changes))
    return torch.cat([each.flatten() for each in load_policy(folder).policy.state_dict().values()])


@pytest.mark.parametrize(
    "algorithm", [RWR(), ASFT(baseline=user_mean), ASFT(baseline=learned_value, temperature=0.2)]
)
def test_equal_rewards_are_behaviour_cloning_to_the_bit(logged, algorithm):
    """Their mean is exact, and so are these baselines: every weight is exp(0) = 1."""
    cloned = weights(logged)
    constant = weights(logged, algorithm=algorithm, control=ConstantRewards())
    assert torch.equal(constant, cloned)
    assert not torch.equal(weights(logged, algorithm=algorithm), cloned)


def log_probs(pipeline, **changes):
    """Of the post-trained policy, after each test history and for each item."""
    policy = load_policy(pipeline.posttrain(run_of(pipeline, **changes))).policy
    hidden_ND, item_embedding_VD = policy.scores(pipeline.data.test.history)
    return (hidden_ND @ item_embedding_VD.T).log_softmax(dim=1)


@pytest.mark.parametrize("algorithm", [ExpRSFT(), ASFT(), ASFT(temperature=0.2)])
def test_equal_rewards_are_behaviour_cloning_but_for_rounding(logged, algorithm):
    """A mean over all items, or of exponentials, is rounded, so that weights are 1 to about 1e-7.
    Parameters are not compared: Adam moves those whose gradient is rounding alone, such as the bias
    of keys, which changes no attention."""
    cloned = log_probs(logged)
    constant = log_probs(logged, algorithm=algorithm, control=ConstantRewards())
    torch.testing.assert_close(constant, cloned, atol=1e-5, rtol=0)
    assert (log_probs(logged, algorithm=algorithm) - cloned).abs().max() > 1e-3


def with_shuffled_rewards(split, corpus, seed):
    rewards_E = ShuffledRewards(seed).rewards(corpus.sequences)
    return split.split(replace(corpus, sequences=replace(corpus.sequences, rewards_E=rewards_E)))


@pytest.mark.parametrize("split", [SMALL.split, UserHoldout(0.3, 0.3, 0.1, 0.1, 0.2)])
def test_shuffled_rewards_reach_the_log_and_the_reward_model(even_log, split, tmp_path):
    """Also where the reward model has users of its own. OfflinePPO reads the model, RWR the log."""
    pipeline = Pipeline(replace(SMALL, dataset=even_log, split=split), tmp_path)
    shuffled = with_shuffled_rewards(split, pipeline.data.corpus, seed=3)
    model, _ = train_reward(shuffled, SMALL.reward, 0)
    for algorithm in (RWR(), OfflinePPO(samples=2)):
        expected, _ = posttrain(
            pipeline.load_pretrained(),
            pipeline.data,
            algorithm,
            model,
            STEPS,
            log=NoisyLog(shuffled.train),
        )
        values = [each.flatten() for each in expected.state_dict().values()]
        found = weights(pipeline, algorithm=algorithm, control=ShuffledRewards(3))
        assert torch.equal(found, torch.cat(values))
        assert not torch.equal(found, weights(pipeline, algorithm=algorithm))
    reward_stages = [each.name for each in tmp_path.glob("stages/reward-*")]
    assert len(reward_stages) == 2, "the clean one, and one for both runs"


def test_the_log_of_true_rewards_is_the_log_without_its_errors(world, tmp_path):
    """Pretraining reads no rewards, so both worlds have one policy to start from."""
    scattered = Pipeline(replace(SMALL, dataset=Scattered()), tmp_path)
    truly = weights(scattered, algorithm=ExpRSFT(), control=TrueRewards())
    assert torch.equal(truly, weights(world, algorithm=ExpRSFT()))
    assert not torch.equal(truly, weights(scattered, algorithm=ExpRSFT()))


def test_with_the_true_reward_policies_are_truly_better(world):
    """OfflinePPO on it, and OnlineRL, against BC: exact values of the same users, paired. Three
    standard errors of the mean difference."""
    longer = run_of(world, posttraining=replace(STEPS, steps=40))
    runs = controls(replace(longer, algorithm=OfflinePPO()), is_world=True)
    value = {
        run.label: world.evaluate(world.posttrain(run))["reward/gold"]
        for run in runs
        if run.label in ("BC", "OfflinePPO true reward", "OnlineRL")
    }
    for name in ("OfflinePPO true reward", "OnlineRL"):
        gain_N = value[name] - value["BC"]
        assert gain_N.mean() > 3 * gain_N.std() / len(gain_N) ** 0.5, name


def test_evaluation_is_that_of_a_run_without(logged):
    """The proxy is what the clean reward model predicts, whatever post-training was given."""
    run = run_of(logged, RWR(), control=ConstantRewards())
    controlled = logged.evaluate(logged.posttrain(run))
    cloned = logged.evaluate(logged.posttrain(run_of(logged)))
    np.testing.assert_array_equal(controlled["reward/proxy@10"], cloned["reward/proxy@10"])
    assert controlled["reward/proxy@10"].std() > 0


def test_a_log_without_truth_has_no_true_rewards(logged, tmp_path):
    sentence = "has no true rewards: only worlds know them; give one, such as jester"
    with pytest.raises(UserError, match=f"even.* {sentence}"):
        weights(logged, control=TrueRewards())
    assert MovieLens100K() == Run(BC()).setup.dataset
    file = tmp_path / "upper.py"
    file.write_text(
        "from recsys_posttrain.algorithms import BC\n"
        "from recsys_posttrain.studies.controls import controls\n"
        "from recsys_posttrain.studies.run import Run\n"
        "RUNS = controls(Run(BC()), is_world=True)\n"
    )
    with pytest.raises(UserError, match=f"ml-100k {sentence}"):
        load_study(file, [], None, None, None)
    assert len(load_study(file, [], "jester", None, None).runs) == 5


def test_a_control_and_a_noise_exclude_each_other():
    with pytest.raises(UserError, match=r"BC: control=ShuffledRewards\(seed=0\) replaces .* leave"):
        Run(BC(), control=ShuffledRewards(), noise=RewardNoise(log=ItemBias(0.5)))
    Run(BC(), control=ShuffledRewards(), noise=RewardNoise(log=ItemBias(0)))
    with pytest.raises(UserError, match=r"BC: control=.*TrueRewards.* is not a control"):
        Run(BC(), control=TrueRewards)


def test_each_seed_has_a_shuffle_of_its_own():
    """Otherwise an interval over seeds would be that of one shuffle."""
    shuffled = Run(BC(), control=ShuffledRewards())
    runs = [shuffled.with_seed(seed) for seed in (0, 1)]
    assert runs == [Run(BC(), control=ShuffledRewards(n), seed=n) for n in (0, 1)]
    for control in (None, ConstantRewards(), TrueRewards()):
        assert Run(BC(), control=control).with_seed(1) == Run(BC(), control=control, seed=1)
    study = Study(Path("s.py"), None, "s", (shuffled,), (0, 1), "test", "", None)
    assert [study.with_seed(shuffled, seed) for seed in study.seeds] == runs


def test_the_standard_controls_of_a_run():
    noisy = Run(ExpRSFT(), name="mine", noise=RewardNoise(log=ItemBias(0.5)))
    everywhere = ["BC", "mine shuffled reward", "mine constant reward"]
    assert [run.label for run in controls(noisy)] == everywhere
    runs = controls(noisy, is_world=True)
    assert [run.label for run in runs] == [*everywhere, "mine true reward", "OnlineRL"]
    kinds = [type(run.control).__name__ for run in runs]
    assert kinds == ["NoneType", "ShuffledRewards", "ConstantRewards", "TrueRewards", "TrueRewards"]
    assert {run.noise for run in runs} == {RewardNoise()}
    assert [type(run.algorithm).__name__ for run in runs] == ["BC", *["ExpRSFT"] * 3, "OfflinePPO"]
