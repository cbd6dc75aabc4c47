"""The factor model against dense algebra written another way, by hand, and at its limits."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from data_factory import made_sequences, random_sequences
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.models.reward_model import RewardData, score_next
from recsys_posttrain.rewards.factor import FactorModule, RewardFactors
from recsys_posttrain.rewards.factor_fit import LEAST_DEVIATION, NOISE_EVENTS, fit_factors
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


def drawn_log(users=60, items=12, rank=2, events=8, noise=0.5, seed=0):
    """Rewards of a factor model, and its rows."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.normal(3, 0.5, (items, 1)), rng.normal(0, 0.7, (items, rank))], 1)
    taste = rng.normal(size=(users, rank))
    chosen = [rng.permutation(items)[:events] for _ in range(users)]
    means = [rows[each, 0] + rows[each, 1:] @ z for each, z in zip(chosen, taste, strict=True)]
    rewards = np.concatenate(means) + rng.normal(0, noise, users * events)
    log = made_sequences([events] * users, (np.concatenate(chosen) + 1).tolist(), rewards.tolist())
    return log, rows, taste


def slow_bound(log, factors, state):
    """The bound from its definition, an event and a user at a time.

    state: mean and covariance of each user's taste, and the prior's mean and covariance.
    """
    means, spreads, prior, prior_spread = state
    rank = means.shape[1]
    total = 0.0
    user_E = np.repeat(np.arange(len(log)), log.lengths_N.numpy())
    for user, item, reward in zip(
        user_E, log.items_E.numpy() - 1, log.rewards_E.double().numpy(), strict=True
    ):
        row, of_row = factors.mean_VQ[item], factors.covariance_VQQ[item]
        taste = np.append(1.0, means[user])
        of_taste = np.zeros((rank + 1, rank + 1))
        of_taste[1:, 1:] = spreads[user]
        squared = (reward - row @ taste) ** 2 + row @ of_taste @ row
        squared += taste @ of_row @ taste + np.trace(of_row @ of_taste)
        noise = factors.noise_V[item]
        total -= (np.log(2 * np.pi * noise) + squared / noise) / 2
    for mean, spread in zip(means, spreads, strict=True):
        total -= _kl(mean, spread, np.zeros(rank), np.eye(rank))
    for mean, spread in zip(factors.mean_VQ, factors.covariance_VQQ, strict=True):
        total -= _kl(mean, spread, prior, prior_spread)
    centre = 1 / np.mean(1 / factors.noise_V)
    for noise in factors.noise_V:
        total -= NOISE_EVENTS * (np.log(noise / centre) + centre / noise - 1) / 2
    return total


def _kl(mean, spread, other, other_spread):
    off = other - mean
    log_ratio = np.linalg.slogdet(other_spread)[1] - np.linalg.slogdet(spread)[1]
    inverse = np.linalg.inv(other_spread)
    return (np.trace(inverse @ spread) + off @ inverse @ off - len(mean) + log_ratio) / 2


def users_given(log, factors):
    """Posteriors of tastes given the items, one user at a time."""
    means, spreads = [], []
    offsets = log.offsets_N1.tolist()
    for start, stop in pairwise(offsets):
        past = list(zip(log.items_E[start:stop].tolist(), log.rewards_E[start:stop], strict=True))
        rank = factors.mean_VQ.shape[1] - 1
        precision, pull = np.eye(rank), np.zeros(rank)
        for item, reward in past:
            row, spread = factors.mean_VQ[item - 1], factors.covariance_VQQ[item - 1]
            second = (np.outer(row, row) + spread) / factors.noise_V[item - 1]
            precision += second[1:, 1:]
            pull += row[1:] * float(reward) / factors.noise_V[item - 1] - second[1:, 0]
        spreads.append(np.linalg.inv(precision))
        means.append(spreads[-1] @ pull)
    return np.array(means), np.array(spreads)


def test_the_bound_never_falls_and_is_at_last_that_of_its_definition():
    log, _, _ = drawn_log()
    factors = fit_factors(log, 12, rank=2, rounds=400, seed=0)
    steps = np.diff(factors.bounds)
    assert steps.min() > -1e-7
    assert steps[0] > 10 > 1e-2 > steps[-1], "it learned, and settled"
    means, spreads = users_given(log, factors)
    prior = factors.mean_VQ.mean(axis=0)
    off = factors.mean_VQ - prior
    prior_spread = off.T @ off / len(off) + factors.covariance_VQQ.mean(axis=0)
    again = slow_bound(log, factors, (means, spreads, prior, prior_spread))
    assert again == pytest.approx(factors.bounds[-1], abs=0.05)


def test_with_many_users_the_rows_are_those_of_greatest_exact_likelihood():
    """Integrating tastes out, each user's rewards are one normal vector; its likelihood in the rows
    and the noise is maximised by L-BFGS. The product of loadings does not depend on a rotation."""
    items, rank = 4, 1
    log, rows, _ = drawn_log(users=3000, items=items, rank=rank, events=items, seed=2)
    reward_UV = np.empty((3000, items))
    user_E = np.repeat(np.arange(3000), items)
    reward_UV[user_E, log.items_E.numpy() - 1] = log.rewards_E.numpy()

    def negative(parameters):
        bias, loading, noise = np.split(parameters, 3)
        covariance = np.outer(loading, loading) + np.diag(np.exp(noise))
        return -multivariate_normal(bias, covariance).logpdf(reward_UV).mean()

    start = np.concatenate([reward_UV.mean(axis=0), rows[:, 1] + 0.1, np.full(items, -1.0)])
    bias, loading, noise = np.split(minimize(negative, start, method="L-BFGS-B").x, 3)
    factors = fit_factors(log, items, rank=rank, rounds=300, seed=0)
    np.testing.assert_allclose(factors.mean_VQ[:, 0], bias, atol=0.01)
    found = np.outer(factors.mean_VQ[:, 1], factors.mean_VQ[:, 1])
    np.testing.assert_allclose(found, np.outer(loading, loading), atol=0.03)
    np.testing.assert_allclose(factors.noise_V, np.exp(noise), atol=0.03)


def test_tastes_that_nobody_has_shrink():
    """Of five columns for rewards of one taste, four explain almost nothing."""
    log, rows, _ = drawn_log(users=400, items=20, rank=1, seed=3)
    factors = fit_factors(log, 20, rank=5, rounds=200, seed=1)
    strength = np.linalg.svd(factors.mean_VQ[:, 1:], compute_uv=False)
    assert strength[0] == pytest.approx(np.linalg.norm(rows[:, 1]), rel=0.1)
    assert strength[1] < 0.25 * strength[0]


def data_of(log, items):
    return RewardData(log, log, items)


def test_an_item_that_nobody_rated_is_an_average_item():
    log, _, _ = drawn_log()
    model, _ = RewardFactors(rank=2).train(data_of(log, 13), seed=0)
    rated = model.mean_VQ[:12]
    torch.testing.assert_close(model.mean_VQ[12], rated.mean(dim=0), rtol=1e-4, atol=1e-5)
    of_rows_VQ = model.covariance_VX[:, [0, 2, 5]]  # the diagonal of a lower half
    assert (of_rows_VQ[12] > 2 * of_rows_VQ[:12]).all(), "it is the least known"


@pytest.mark.parametrize(
    "log",
    [
        made_sequences([2, 2, 2], [1, 2, 1, 2, 1, 2], [4.0] * 6),
        made_sequences([1], [2], [5.0]),
        made_sequences([2], [1, 1], [1.0, 5.0]),
    ],
    ids=["all equal", "one rating", "one item twice"],
)
def test_little_data_gives_finite_predictions_near_the_mean(log):
    model, fitted = RewardFactors(rank=3).train(data_of(log, 2), seed=0)
    assert fitted.steps == 30
    history = made_sequences([1, 2], [1, 2, 1], [5.0, 1.0, 1.0])
    score_NK = score_next(model, history, torch.tensor([[1, 2], [1, 2]]))
    assert torch.isfinite(score_NK).all()
    assert (score_NK - log.rewards_E.mean()).abs().max() < 0.2
    assert (model.noise_V >= LEAST_DEVIATION**2 * 0.999).all()


def test_the_seed_alone_decides(tmp_path):
    log, _, _ = drawn_log()
    config = RewardFactors(rank=2, rounds=3)
    first, fitted = config.train(data_of(log, 12), 1, tmp_path)
    second, _ = config.train(data_of(log, 12), 1)
    other, _ = config.train(data_of(log, 12), 2)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert not torch.equal(first.mean_VQ, other.mean_VQ)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == fitted.steps == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [("rank", 0), ("rounds", 0), ("forgetting", 0.0), ("forgetting", 1.1), ("held_out", 1.0)],
)
def test_impossible_settings_are_refused(field, value):
    with pytest.raises(UserError, match=f"RewardFactors: {field}={value}"):
        RewardFactors(**{field: value})
