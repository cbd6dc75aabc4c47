"""The factor model against dense algebra written another way, by hand, and at its limits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from data_factory import made_sequences, random_sequences

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.positions import TrainingPositions
from recsys_posttrain.errors import UserError
from recsys_posttrain.models.reward_model import score_next
from recsys_posttrain.rewards.factor import FactorModule, RewardFactors
from recsys_posttrain.rewards.predictions import predict_logged

ITEMS, RANK = 7, 3
LENGTHS = [5, 1, 4, 6]


def drawn_module(forgetting=0.9, seed=0):
    """Rows, covariances and noises of items that nobody fitted."""
    module = FactorModule(RewardFactors(rank=RANK, forgetting=forgetting, max_length=9), ITEMS)
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(ITEMS, RANK + 1))
    rows[:, 0] += 3
    halves = rng.normal(size=(ITEMS, RANK + 1, RANK + 1)) / 4
    covariances = halves @ halves.transpose(0, 2, 1)
    noises = rng.uniform(0.3, 1.5, ITEMS)
    module.double()
    module.mean_VQ.copy_(torch.from_numpy(rows))
    entries = [(q, p) for q in range(RANK + 1) for p in range(q + 1)]
    for column, (q, p) in enumerate(entries):
        module.covariance_VX[:, column] = torch.from_numpy(covariances[:, q, p])
    module.noise_V.copy_(torch.from_numpy(noises))
    return module, rows, covariances, noises


def dense_posterior(past, rows, covariances, noises, forgetting):
    """Mean and covariance of z by conditioning one normal vector (z, rewards), whose precision adds
    an uncertain loading's variance to what each reward says; newest event last."""
    weights = forgetting ** np.arange(len(past))[::-1]
    precision, pull = np.eye(RANK), np.zeros(RANK)
    for weight, (item, reward) in zip(weights, past, strict=True):
        bias, loading = rows[item - 1, 0], rows[item - 1, 1:]
        spread = covariances[item - 1]
        precision += weight / noises[item - 1] * (np.outer(loading, loading) + spread[1:, 1:])
        pull += weight / noises[item - 1] * (loading * (reward - bias) - spread[1:, 0])
    spread = np.linalg.inv(precision)
    return spread @ pull, spread


def every_context(sequences, batch):
    """(position of the batch, past events), in the order of positions."""
    pairs = list(zip(sequences.items_E.tolist(), sequences.rewards_E.tolist(), strict=True))
    starts = sequences.offsets_N1.tolist()
    for n, (row, place) in enumerate(zip(batch.user_N.tolist(), batch.position_N, strict=True)):
        yield n, pairs[starts[row] : starts[row] + int(place) + 1]


@pytest.mark.parametrize("forgetting", [1.0, 0.9])
def test_predictions_and_variances_are_those_of_dense_algebra(forgetting, monkeypatch):
    module, rows, covariances, noises = drawn_module(forgetting)
    sequences = random_sequences(LENGTHS, ITEMS)
    sequences = replace(sequences, rewards_E=sequences.rewards_E.double())
    batch = batch_of(sequences, torch.tensor([0, 2, 3]), 9)
    items_NK = torch.arange(1, ITEMS + 1).expand(len(batch.action_N), -1)
    found = {}
    for chunk in (10_000, 2):
        monkeypatch.setattr("recsys_posttrain.rewards.factor.POSITIONS_AT_A_TIME", chunk)
        module.clear_cache()
        found[chunk] = module.score_all(batch), module.variance(batch, items_NK)
    for one, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    score_NV, variance_NV = found[2]
    module.clear_cache()
    _, lower_NK, upper_NK = module.interval(batch, items_NK, width=2.0)
    draws = np.random.default_rng(5)
    for n, past in every_context(sequences, batch):
        mean, spread = dense_posterior(past, rows, covariances, noises, forgetting)
        np.testing.assert_allclose(score_NV[n], rows[:, 0] + rows[:, 1:] @ mean, rtol=1e-9)
        item = n % ITEMS
        # The variance of a product of two independent normal vectors, by drawing both.
        row_S = draws.multivariate_normal(rows[item], covariances[item], 100_000)
        z_S = draws.multivariate_normal(mean, spread, 100_000)
        drawn_S = row_S[:, 0] + (row_S[:, 1:] * z_S).sum(axis=1)
        assert float(variance_NV[n, item]) == pytest.approx(drawn_S.var(), rel=0.03)
        other_S = draws.multivariate_normal(rows[item - 1], covariances[item - 1], 100_000)
        difference_S = ((row_S - other_S) * np.column_stack([np.ones(len(z_S)), z_S])).sum(axis=1)
        # Items are numbered from 1; item -1 is the last one.
        pair = torch.full((2, len(batch.action_N), 2), item + 1)
        pair[1, :, 0] = item or ITEMS
        spread_N2 = module.difference_spread(batch, *pair)
        assert float(spread_N2[n, 0]) == pytest.approx(difference_S.std(), rel=0.015)
        assert not spread_N2[:, 1].any()
    torch.testing.assert_close(score_NV - lower_NK, 2 * variance_NV.sqrt())
    torch.testing.assert_close(upper_NK - score_NV, 2 * variance_NV.sqrt())


def test_known_loadings_give_the_conditional_of_one_joint_normal():
    """Without uncertain rows and forgetting: z given rewards, from their joint covariance."""
    module, rows, _, noises = drawn_module(forgetting=1.0)
    module.covariance_VX.zero_()
    past = [(1, 4.0), (3, 2.0), (6, 5.0)]
    index = [item - 1 for item, _ in past]
    loading, bias = rows[index, 1:], rows[index, 0]
    of_rewards = loading @ loading.T + np.diag(noises[index])
    surprise = np.array([reward for _, reward in past]) - bias
    mean = loading.T @ np.linalg.solve(of_rewards, surprise)
    spread = np.eye(RANK) - loading.T @ np.linalg.solve(of_rewards, loading)
    items, rewards = zip(*past, (2, 1.0), strict=True)
    log = made_sequences([4], list(items), list(rewards))
    batch = batch_of(replace(log, rewards_E=log.rewards_E.double()), torch.tensor([0]), 9)
    np.testing.assert_allclose(module.score_all(batch)[-1], rows[:, 0] + rows[:, 1:] @ mean)
    variance = module.variance(batch, batch.action_N[:, None])[-1, 0]
    assert float(variance) == pytest.approx(rows[1, 1:] @ spread @ rows[1, 1:])


def test_a_block_is_predicted_from_the_history_before_it():
    """Of blocks of three actions: as if each action came right after that history, at its time."""
    module = drawn_module()[0].float()
    items, rewards = [1, 2, 3, 4, 5, 6, 7, 1], [4.0, 2.0, 5.0, 1.0, 3.0, 2.0, 4.0, 5.0]
    lengths = [2, 6, 8]
    log = made_sequences(lengths, *([each[:size] for size in lengths] for each in (items, rewards)))
    expected = []
    for length in lengths:
        for event in range(1, length):
            first = event - (event - 1) % 3
            past = [*items[:first], items[event]], [*rewards[:first], 1.0]
            expected.append(predict_logged(module, made_sequences([first + 1], *past))[-1])
    np.testing.assert_allclose(predict_logged(module, log, 3), expected, rtol=1e-5)
    assert not np.allclose(predict_logged(module, log), expected)
    variance = predict_logged(module, log, scores=module.variance)
    batch = batch_of(log, torch.tensor([1]), 9)
    alone = module.variance(batch, batch.action_N[:, None])[:, 0]
    np.testing.assert_allclose(variance[1:6], alone, rtol=1e-5)


def test_two_items_by_hand():
    """Loadings 1 and 2, noise 1, bias 3: after a 5 the mean of z is (1 * 2) / (1 + 1) = 1, so item
    2 is expected at 3 + 2 * 1; after two 5s, the older one half as heavy, 3 / (1 + 1.5) = 1.2."""
    module = FactorModule(RewardFactors(rank=1, forgetting=0.5, max_length=9), 2)
    module.mean_VQ.copy_(torch.tensor([[3.0, 1.0], [3.0, 2.0]]))
    log = made_sequences([3], [1, 1, 2], [5.0, 5.0, 1.0])
    batch = batch_of(log, torch.tensor([0]), 9)
    expected = torch.tensor([[4.0, 5.0], [4.2, 5.4]])
    torch.testing.assert_close(module.score_all(batch), expected)
    # Variances of z: 1 / 2 and 1 / 2.5, times the loading's square.
    variance_N1 = module.variance(batch, torch.tensor([[1], [2]]))
    torch.testing.assert_close(variance_N1, torch.tensor([[0.5], [1.6]]))
    after = score_next(module, made_sequences([2], [1, 1], [5.0, 5.0]), torch.tensor([[1, 2]]))
    torch.testing.assert_close(after, expected[1:])


@pytest.mark.parametrize("event", range(10, 16))
def test_a_reward_reaches_only_later_predictions(event):
    """Event 10 + n of the last sequence is the action of position n - 1."""
    module = drawn_module()[0]
    log = random_sequences(LENGTHS, ITEMS)
    log = replace(log, rewards_E=log.rewards_E.double())
    before = module.score_all(batch_of(log, torch.tensor([3]), 9))
    log.rewards_E[event] = 9.0
    after = module.score_all(batch_of(log, torch.tensor([3]), 9))
    first_later = event - 10
    assert torch.equal(before[:first_later], after[:first_later])
    for position in range(first_later, 5):
        assert not torch.allclose(before[position], after[position]), position


@pytest.mark.parametrize(
    ("field", "value"),
    [("rank", 0), ("rounds", 0), ("forgetting", 0.0), ("forgetting", 1.1), ("held_out", 1.0)],
)
def test_impossible_settings_are_refused(field, value):
    with pytest.raises(UserError, match=f"RewardFactors: {field}={value}"):
        RewardFactors(**{field: value})


def test_what_is_kept_of_the_log_is_what_a_batch_gives():
    module, *_ = drawn_module()
    sequences = random_sequences(LENGTHS, ITEMS)
    sequences = replace(sequences, rewards_E=sequences.rewards_E.double())
    batch = batch_of(sequences, torch.tensor([3, 0]), 9)
    items_NK = torch.arange(1, ITEMS + 1).expand(len(batch.action_N), -1)
    asked = batch, items_NK
    direct = module.variance(*asked), module.difference_spread(*asked, items_NK.roll(1, dims=1))
    module.set_positions(TrainingPositions(sequences, 9))
    kept = module.variance(*asked), module.difference_spread(*asked, items_NK.roll(1, dims=1))
    for one, other in zip(direct, kept, strict=True):
        assert one.std() > 0.01
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    # It is kept: of a model whose items became certain since, the part of its states is as before.
    module.covariance_VX.zero_()
    before = module.variance(*asked)
    module.set_positions(None)
    assert (module.variance(*asked) - before).abs().max() > 0.01
