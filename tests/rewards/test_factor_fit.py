"""Fitting the factor model: its bound, its optimum, little data, and the seed."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from data_factory import made_sequences
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from recsys_posttrain.models.reward_model import RewardData, score_next
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.rewards.factor_fit import LEAST_DEVIATION, NOISE_EVENTS, fit_factors


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
