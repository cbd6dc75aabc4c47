"""The ensemble: its formula, what it may see, its bootstrap and its loss."""

import copy
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from data_factory import random_sequences

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.models import SASRec
from recsys_posttrain.rewards.ensemble import bootstrap_weights
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.types import Sequences

ITEMS, MEMBERS, RANK = 9, 3, 4
SIZES = dict(dim=8, blocks=1, feed_forward=16, max_length=10, dropout=0.0)
CONFIG = RewardEnsemble(SASRec(**SIZES, history_rewards=True), members=MEMBERS, rank=RANK)
ROWS = torch.tensor([2, 0])  # two of three sequences: a row is not its place in the batch


@pytest.fixture
def model():
    """Away from its start, where every factor is small and every bias 0."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        built = CONFIG.build(ITEMS, mean_reward=3.25)
        for parameter in built.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return built.double().eval()


@pytest.fixture
def sequences():
    drawn = random_sequences([4, 4, 7], ITEMS, seed=1)
    return replace(drawn, rewards_E=drawn.rewards_E.double())


def slow_prediction(model, hidden_D, past, member, item):
    """mu + b_mv + u_m(x) + c_m(x) + s_m(x) . f_mv from the parameters, in NumPy.

    past: the visible events (item, reward) before the action; u_m is their damped deviation.
    """
    weight, bias = (each.detach().numpy() for each in model.state_projection.parameters())
    projected = (weight @ hidden_D + bias).reshape(MEMBERS, RANK + 1)[member]
    factor = model.item_factor[member, item - 1].detach().numpy()
    item_bias = model.item_bias[member, item - 1].item()
    deviations = [reward - 3.25 - model.item_bias[member, it - 1].item() for it, reward in past]
    user_bias = sum(deviations) / (len(past) + 5)
    return 3.25 + item_bias + user_bias + projected[RANK] + projected[:RANK] @ factor


def slow_logged(model, batch):
    """[M, B, T], NaN at padding."""
    hidden = model.encoder(batch.history).detach().numpy()
    made = np.full((MEMBERS, *batch.mask_BT.shape), np.nan)
    for m, b, t in np.ndindex(*made.shape):
        if batch.mask_BT[b, t]:
            items, rewards = batch.history_BT[b, : t + 1], batch.history_rewards_BT[b, : t + 1]
            past = list(zip(items.tolist(), rewards.tolist(), strict=True))
            action = int(batch.actions_BT[b, t])
            made[m, b, t] = slow_prediction(model, hidden[b, t], past, m, action)
    return made


def test_predictions_are_the_formula(model, sequences):
    batch = batch_of(sequences, ROWS, max_length=10)
    expected_MBT = slow_logged(model, batch)
    real_BT = batch.mask_BT.numpy()
    logged_MN = model.logged_scores(batch).detach()
    np.testing.assert_allclose(logged_MN, expected_MBT[:, real_BT])
    mean_N = expected_MBT[:, real_BT].mean(axis=0)
    action_N1 = batch.action_N[:, None]
    np.testing.assert_allclose(model.score(batch, action_N1)[:, 0], mean_N)
    np.testing.assert_allclose(model.score_all(batch).gather(1, action_N1 - 1)[:, 0], mean_N)


@pytest.mark.parametrize("event", range(8, 15))
def test_a_reward_reaches_only_later_predictions(model, sequences, event):
    """Event 8 + n of the last sequence is the action of position n - 1."""
    before = model.score_all(batch_of(sequences, torch.tensor([2]), max_length=10))
    model.clear_cache()
    sequences.rewards_E[event] = 9.0
    after = model.score_all(batch_of(sequences, torch.tensor([2]), max_length=10))
    first_later = event - 8
    assert torch.equal(before[:first_later], after[:first_later])
    for position in range(first_later, 6):
        assert not torch.allclose(before[position], after[position]), position


def test_every_member_sees_users_as_often_as_a_bootstrap_would():
    weight_MS = bootstrap_weights(5, 20_000, seed=3)
    assert weight_MS.shape == (5, 20_000)
    # Poisson(1): mean 1 and variance 1; the tolerance is four standard errors or more.
    assert weight_MS.mean(dim=1) == pytest.approx([1.0] * 5, abs=0.03)
    assert weight_MS.var(dim=1) == pytest.approx([1.0] * 5, abs=0.06)
    assert set(weight_MS.unique().tolist()) >= {0.0, 1.0, 2.0, 3.0}
    assert not torch.equal(weight_MS[0], weight_MS[1])
    assert torch.equal(weight_MS, bootstrap_weights(5, 20_000, seed=3))
    assert not torch.equal(weight_MS, bootstrap_weights(5, 20_000, seed=4))
    # One member alone sees every user once.
    assert bootstrap_weights(1, 4, seed=3).tolist() == [[1.0, 1.0, 1.0, 1.0]]


def test_the_loss_is_the_weighted_squared_error_averaged_over_members(model, sequences):
    batch = batch_of(sequences, ROWS, max_length=10)
    weight_MS = torch.tensor([[1.0, 7.0, 2.0], [0.0, 7.0, 1.0], [3.0, 7.0, 0.0]])
    error_MBT = (slow_logged(model, batch) - batch.rewards_BT.numpy()) ** 2
    # Rows of the batch are sequences 2 (the longest first) and 0; sequence 1 is not in it.
    weight_MB = np.array([[2.0, 1.0], [1.0, 0.0], [0.0, 3.0]])
    expected_BT = (error_MBT * weight_MB[..., None]).mean(axis=0)
    output = model.loss(batch, weight_MS)
    np.testing.assert_allclose(output.loss_N.detach(), expected_BT[batch.mask_BT.numpy()])
    assert output.counted_N is None
    assert float(output.metrics["rmse"]) == pytest.approx(np.sqrt(np.nanmean(error_MBT)))
    assert not output.metrics["rmse"].requires_grad


def test_what_stands_at_padding_has_no_influence(model, sequences):
    batch = batch_of(sequences, ROWS, max_length=10)
    padding_BT = ~batch.mask_BT
    assert padding_BT.any()
    other = batch._replace(
        history_BT=batch.history_BT.masked_fill(padding_BT, 5),
        history_rewards_BT=batch.history_rewards_BT.masked_fill(padding_BT, 9.0),
        history_times_BT=batch.history_times_BT.masked_fill(padding_BT, 11),
        actions_BT=batch.actions_BT.masked_fill(padding_BT, 7),
        rewards_BT=batch.rewards_BT.masked_fill(padding_BT, 99.0),
    )
    twin, weight_MS = copy.deepcopy(model), torch.ones(MEMBERS, 3)
    first, second = model.loss(batch, weight_MS), twin.loss(other, weight_MS)
    torch.testing.assert_close(first.loss_N, second.loss_N, rtol=0, atol=0)
    first.loss_N.sum().backward()
    second.loss_N.sum().backward()
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=0)


def test_an_untrained_model_predicts_about_the_mean(sequences):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CONFIG.build(ITEMS, mean_reward=3.25)
    batch = batch_of(sequences, ROWS, max_length=10)
    batch = batch._replace(history_rewards_BT=batch.history_rewards_BT.float())
    scores = model.eval().score_all(batch)
    assert (scores - 3.25).abs().max() < 2
    assert float(model.state_dict()["mean_reward"]) == 3.25


@pytest.mark.parametrize(
    ("field", "value"), [("members", 0), ("rank", 0), ("held_out", 0.0), ("held_out", 1.0)]
)
def test_impossible_settings_are_refused(field, value):
    with pytest.raises(UserError, match=f"{field}={value}"):
        RewardEnsemble(**{field: value})


def test_item_biases_start_as_damped_means_of_each_members_bootstrap():
    """Item 1: 5 by sequence 0, 2 by sequence 1; item 2: 4 by sequence 1; mean 3, damping 5."""
    rewards_E = torch.tensor([5.0, 2.0, 4.0])
    log = Sequences(torch.tensor([1, 1, 2]), rewards_E, torch.arange(3), torch.tensor([0, 1, 3]))
    with torch.random.fork_rng(devices=[]):
        model = CONFIG.build(3, mean_reward=3.0)
    model.start_from_item_means(log, torch.tensor([[1.0, 1.0], [2.0, 0.0], [0.0, 3.0]]))
    expected = [[1 / 7, 1 / 6, 0], [4 / 7, 0, 0], [-3 / 8, 3 / 8, 0]]
    np.testing.assert_allclose(model.item_bias.detach(), expected, rtol=1e-6)


@pytest.fixture
def busy_machine():
    """Two other processes that keep the cores busy, so that threads meet in another order."""
    hog = "import torch\nx = torch.randn(900, 900)\nwhile True: x @ x"
    hogs = [subprocess.Popen([sys.executable, "-c", hog]) for _ in range(2)]
    yield
    for each in hogs:
        each.kill()
        each.wait()


def test_two_threads_give_the_same_bytes_every_time(busy_machine):
    """Enough events for several threads to meet at the same few items, in bias and factor."""
    sequences = random_sequences([11] * (64 * 16), ITEMS)
    batch = batch_of(sequences, torch.arange(len(sequences)), 10)
    model = CONFIG.build(ITEMS, mean_reward=3.0)
    weight_MS = torch.ones(MEMBERS, len(sequences))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found, deadline = set(), time.monotonic() + 120
        for repeat in range(40):
            if repeat > 2 and time.monotonic() > deadline:  # a machine that is busier still
                break
            model.zero_grad()
            model.loss(batch, weight_MS).loss_N.sum().backward()
            gradients = (model.item_bias.grad, model.item_factor.grad)
            found.add(b"".join(each.numpy().tobytes() for each in gradients))
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1
