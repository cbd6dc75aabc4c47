"""The curve of a run in a world, where proxy, judge and truth are all known."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from recsys_posttrain.algorithms import ExpRSFT
from recsys_posttrain.data import UserHoldout
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.checkpoint import load_policy
from recsys_posttrain.models.reward_model import score_next
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.noise import ItemBias, RewardNoise
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.worlds.jester import Jester


@pytest.fixture
def run(small_jester):
    plan = Training(epochs=1, batch_size=8)
    sizes = dict(dim=8, blocks=1, feed_forward=16, max_length=10)
    setup = Setup(
        dataset=Jester(users=40, length=12, data_root=str(small_jester.path)),
        split=UserHoldout(0.2, 0.2, 0.2, 0.2, 0.2, minimum_item_ratings=1),
        backbone=SASRec(**sizes),
        pretraining=plan,
        reward=RewardEnsemble(SASRec(**sizes, history_rewards=True), 2, 2, training=plan),
    )
    steps = Training(steps=6, batch_size=8, learning_rate=0.05, warmup_steps=1, snapshots=3)
    return Run(ExpRSFT(temperature=0.2), setup, posttraining=steps)


def slow_worth(policy, model, targets):
    """E_pi[r] over the unseen items of each target, averaged, by loops."""
    items = len(policy.item_embedding_VD)
    items_NV = torch.arange(1, items + 1).expand(len(targets.items_N), -1)
    score_NV = score_next(model, targets.history, items_NV, targets.times_N, targets.users_N)
    with torch.no_grad():
        hidden_ND = policy.last_hidden_states(targets.history, targets.times_N)
        logit_NV = hidden_ND @ policy.item_embedding_VD.T
    worth = []
    for n in range(len(items_NV)):
        start, stop = targets.history.offsets_N1[n : n + 2].tolist()
        seen = set(targets.history.items_E[start:stop].tolist())
        unseen = [v for v in range(items) if v + 1 not in seen]
        pi = logit_NV[n, unseen].double().softmax(0)
        worth.append(float(pi @ score_NV[n, unseen].double()))
    return sum(worth) / len(worth)


def test_the_curve_of_a_run(run, tmp_path, monkeypatch):
    """Steps 6^(1/3), 6^(2/3) and 6. Its ends are the rows of the reference and of the run (the same
    float64 sums: equal to 1e-9; 1e-5 of a KL in float32), the middle those of a shorter run."""
    pipeline = Pipeline(run.setup, tmp_path)
    folder = pipeline.posttrain(run)
    curve = pipeline.trace(folder)
    rewards = ["reward/proxy", "reward/judge", "reward/gold"]
    assert list(curve) == ["step", "kl", "sqrt_kl", *rewards]
    assert curve["step"].tolist() == [0, 2, 3, 6]
    first, last = curve.iloc[0], curve.iloc[-1]
    assert first["kl"] == first["sqrt_kl"] == 0
    assert last["kl"] > 0.01
    shorter = replace(run, posttraining=replace(run.posttraining, steps=3, snapshots=0))
    folders = {0: pipeline.pretrain(), 3: pipeline.posttrain(shorter), 6: folder}
    for step, policy_folder in folders.items():
        rows, point = pipeline.evaluate(policy_folder), curve.set_index("step").loc[step]
        assert point["kl"] == pytest.approx(rows["kl"].mean(), rel=1e-5, abs=1e-12)
        assert point["reward/gold"] == pytest.approx(rows["reward/gold"].mean(), rel=1e-9)
    policy, targets = load_policy(folder).policy, pipeline.data.test
    models = {"proxy": pipeline.rewards.load(), "judge": pipeline.rewards.load_judge()}
    for name, model in models.items():
        expected = slow_worth(policy, model, targets)
        assert last[f"reward/{name}"] == pytest.approx(expected, rel=1e-5)

    noise = RewardNoise(model=ItemBias(2.0))
    noisy = pipeline.trace(folder, noise=noise)
    same = [name for name in curve if name != "reward/proxy"]
    pd.testing.assert_frame_equal(noisy[same], curve[same])
    expected = slow_worth(policy, pipeline.rewards.load_noisy(noise), targets)
    assert noisy.iloc[-1]["reward/proxy"] == pytest.approx(expected, rel=1e-5)
    assert abs(expected - last["reward/proxy"]) > 1e-3

    chosen_on = pipeline.trace(folder, "validation")
    assert "reward/gold" not in chosen_on, "settings are never chosen by the truth"
    assert not chosen_on["reward/judge"].equals(curve["reward/judge"])

    def fail(*arguments, **options):
        raise AssertionError("computed again")

    monkeypatch.setattr("recsys_posttrain.studies.pipeline.curve_point", fail)
    again = Pipeline(run.setup, tmp_path)
    pd.testing.assert_frame_equal(again.trace(folder), curve)
