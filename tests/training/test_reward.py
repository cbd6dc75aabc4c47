"""Reward training: who is held out, what stops it, and that it learns what can be learned."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from data_factory import made_corpus, made_sequences
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.split import LeaveOneOut, latest_events, whole_sequences
from recsys_posttrain.errors import UserError
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.noise import Flips, RewardNoise, Starvation
from recsys_posttrain.rewards.predictions import predict_logged
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.training.judge import judge_quality, reward_quality, train_judge
from recsys_posttrain.training.reward import train_reward, user_parts

ITEMS, USERS = 12, 80
ENCODER = SASRec(dim=8, blocks=1, feed_forward=16, max_length=10, history_rewards=True)
CONFIG = RewardEnsemble(
    encoder=ENCODER,
    members=2,
    rank=2,
    training=Training(epochs=40, batch_size=16, learning_rate=0.03, warmup_steps=1, patience=3),
)


@pytest.fixture(scope="module")
def world():
    """Items up to 6 are rated 1 or 2, the others 4 or 5, by everyone: the item decides."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(6, 15, (USERS,), generator=generator).tolist()
    items_E = torch.randint(1, ITEMS + 1, (sum(lengths),), generator=generator)
    noise_E = torch.randint(0, 2, items_E.shape, generator=generator)
    rewards_E = (1 + 3 * (items_E > 6) + noise_E).float()
    ids = np.arange(1, ITEMS + 1)
    corpus = made_corpus(lengths, items_E.tolist(), rewards_E.tolist(), item_ids=ids)
    return LeaveOneOut().split(corpus)


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    return *train_reward(world, CONFIG, seed=1, folder=folder), folder


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    held_out=st.floats(0.01, 0.99),
    seed=st.integers(0, 3),
)
def test_nobody_is_in_two_parts(lengths, held_out, seed):
    usable = {user for user, length in enumerate(lengths) if length >= 2}
    half = max(1, min(round(len(usable) * held_out / 2), (len(usable) - 1) // 2))
    if len(usable) < 3:
        with pytest.raises(UserError, match=f"{len(usable)} users have two training events"):
            user_parts(made_sequences(lengths), held_out, seed)
        return
    parts = [part.tolist() for part in user_parts(made_sequences(lengths), held_out, seed)]
    together = [user for part in parts for user in part]
    assert len(together) == len(set(together))
    assert set(together) == usable
    assert [len(part) for part in parts] == [len(usable) - 2 * half, half, half]


def test_the_seed_decides_who_is_held_out(world):
    first, same, other = (user_parts(world.train, 0.2, seed).judged_N for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert set(first.tolist()) != set(other.tolist())


def test_predictions_come_in_flat_order_one_sequence_at_a_time(trained):
    model = trained[0]
    lengths = [3, 1, 11, 0, 5, 2]
    generator = torch.Generator().manual_seed(5)
    items_E = torch.randint(1, ITEMS + 1, (sum(lengths),), generator=generator)
    rewards_E = torch.randint(1, 6, items_E.shape, generator=generator).float()
    sequences = made_sequences(lengths, items_E.tolist(), rewards_E.tolist())
    expected = []
    for start, stop in pairwise(sequences.offsets_N1.tolist()):
        items, rewards = items_E[start:stop], rewards_E[start:stop]
        if len(items) < 2:
            continue
        alone = made_sequences([len(items)], items.tolist(), rewards.tolist())
        scores_TV = model.score_all(batch_of(alone, torch.tensor([0]), len(items)))
        expected += [float(scores_TV[t, item - 1]) for t, item in enumerate(items[1:].tolist())]
    np.testing.assert_allclose(predict_logged(model, sequences), expected, rtol=1e-5)


def errors_on(model, data, rows_N):
    """RMSE of the model and of the constant 3, on rewards it was not trained on."""
    latest = latest_events(data.train, rows_N, ENCODER.max_length + 1)
    first_E = torch.zeros(len(latest.items_E), dtype=torch.bool)
    first_E[latest.offsets_N1[:-1]] = True
    reward_E = latest.rewards_E[~first_E].double().numpy()
    error_E = predict_logged(model, latest) - reward_E
    return np.sqrt((error_E**2).mean()), reward_E.std()


def test_it_learns_that_the_item_decides(trained, world):
    model, fitted, _ = trained
    assert fitted.best_step > 0
    judged_N = user_parts(world.train, CONFIG.held_out, 1).judged_N
    error, constant_error = errors_on(model, world, judged_N)
    assert constant_error > 1.4
    assert error < 0.8, "the noise alone is .5"


def test_the_weights_that_stay_are_those_of_the_best_epoch(trained, world):
    model, fitted, folder = trained
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    judged = {line["step"]: line["negative_rmse"] for line in lines if "negative_rmse" in line}
    steps_per_epoch = 4  # 64 of 80 users learn, in batches of 16
    assert list(judged) == list(range(4, fitted.steps + 1, steps_per_epoch))
    assert fitted.best_value == max(judged.values()) == judged[fitted.best_step]
    assert fitted.steps == min(fitted.best_step + 3 * steps_per_epoch, 160)
    assert fitted.steps > fitted.best_step, "otherwise this proves nothing"
    error, _ = errors_on(model, world, user_parts(world.train, CONFIG.held_out, 1).validation_N)
    assert error == pytest.approx(-fitted.best_value, rel=1e-6)
    assert [path.name for path in folder.iterdir()] == ["metrics.jsonl"]


def test_the_quality_table_judges_the_held_out_users(trained, world):
    model = trained[0]
    frame = reward_quality(model, world, CONFIG, seed=1)
    judged_N = user_parts(world.train, CONFIG.held_out, 1).judged_N
    error, constant_error = errors_on(model, world, judged_N)
    ours = frame.loc["RewardEnsemble"]
    assert ours["rmse"] == pytest.approx(error)
    lengths_N = world.train.lengths_N[judged_N].clamp(max=11)
    assert ours["events"] == int((lengths_N - 1).sum())
    assert ours["users"] == len(judged_N) == 8
    assert len(frame) >= 5, "beside the naive baselines"
    assert frame["rmse"].max() >= 0.9 * constant_error


def upside_down(sequences):
    """The same events with the opposite taste."""
    return replace(sequences, rewards_E=6 - sequences.rewards_E)


def test_each_model_learns_from_its_own_part_of_the_split(world, trained):
    """The policy's users disagree with the reward model's, and the judge's with both."""
    data = replace(
        world, train=upside_down(world.train), reward=world.train, judge=upside_down(world.train)
    )
    again, _ = train_reward(data, CONFIG, seed=1)
    for name, value in again.state_dict().items():
        assert torch.equal(value, trained[0].state_dict()[name]), name
    assert reward_quality(again, data, CONFIG, seed=1).equals(
        reward_quality(trained[0], world, CONFIG, seed=1)
    )
    judge, _ = train_judge(data, CONFIG, seed=1)
    found = judge_quality(judge, data, CONFIG, seed=1).loc["RewardEnsemble"]
    assert found["rmse"] < 0.8
    assert reward_quality(judge, data, CONFIG, seed=1).loc["RewardEnsemble", "rmse"] > 2


def test_the_judge_has_draws_of_its_own_and_needs_users(world, trained):
    same_users = replace(world, judge=world.train)
    judge, _ = train_judge(same_users, CONFIG, seed=1)
    ours, theirs = (each.encoder.item_embedding.weight for each in (trained[0], judge))
    assert torch.corrcoef(torch.stack([ours[1:].flatten(), theirs[1:].flatten()]))[0, 1] < 0.5
    with pytest.raises(UserError, match="of made keeps no users for a judge; use UserHoldout"):
        train_judge(world, CONFIG, seed=1)


@pytest.mark.parametrize("model", [Flips(0.6), Starvation(0.9)])
def test_worse_data_makes_a_worse_model_for_the_same_judged_users(world, trained, model):
    """Three of five ratings flipped, or six users instead of 60: real errors, not injected ones."""
    worse, _ = train_reward(world, CONFIG, seed=1, noise=RewardNoise(model=model))
    clean, noisy = (reward_quality(each, world, CONFIG, 1) for each in (trained[0], worse))
    assert noisy.loc["RewardEnsemble", "rmse"] > clean.loc["RewardEnsemble", "rmse"] + 0.05
    assert noisy.drop("RewardEnsemble").equals(clean.drop("RewardEnsemble"))


def test_worse_data_is_what_is_learned_from_and_stopped_on(world, trained, monkeypatch):
    seen = []

    def spied(sequences, rows_N):
        seen.append((sequences, rows_N))
        return whole_sequences(sequences, rows_N)

    monkeypatch.setattr("recsys_posttrain.training.reward.whole_sequences", spied)
    once = replace(CONFIG, training=Training(epochs=1, batch_size=64))
    parts = user_parts(world.train, CONFIG.held_out, 1)
    for noise in (RewardNoise(model=Flips(0.6), seed=2), RewardNoise(model=Starvation(0.5))):
        train_reward(world, once, seed=1, noise=noise)
    (flipped, fit_N), (stopped, stop_N), (plain, fewer_N), (_, same_N) = seen
    assert torch.equal(flipped.rewards_E, Flips(0.6).log(world.train, 2).rewards_E)
    assert stopped is flipped
    assert torch.equal(fit_N, parts.fit_N)
    assert torch.equal(stop_N, parts.validation_N)
    assert plain is world.train
    assert set(fewer_N.tolist()) < set(parts.fit_N.tolist())
    assert torch.equal(same_N, parts.validation_N)
