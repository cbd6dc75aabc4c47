"""Draws against explicit loops and closed forms. How often intervals are right is simulated in
tests/test_benchmarks_coverage.py."""

import numpy as np
import pytest
from scipy import stats

from recsys_posttrain.stats.bootstrap import bootstrap_interval, bootstrap_means, interval, p_value

NAN = np.nan


def test_draws_match_an_explicit_loop_over_the_same_users():
    """Three seeds that agree: a seed part of 0, and all of the users' variance is their own."""
    rng = np.random.default_rng(5)
    values = np.repeat(rng.normal(size=(2, 1, 11)), 3, axis=1)
    values[1, :, 4] = NAN  # a user outside the subset
    weights = rng.uniform(0.5, 2, 11)
    draws_of = {}
    for seeds in (1, 3):
        mean, draws = bootstrap_means(
            values[:, :seeds], weights_KN=weights, resamples=40, rng=np.random.default_rng(9)
        )
        draws_of[seeds] = draws
        users_R = np.random.default_rng(9).integers(0, 11, (40, 11))
        for k in range(2):
            for r in range(40):
                used = [n for n in users_R[r] if not np.isnan(values[k, 0, n])]
                by_hand = sum(weights[n] * values[k, 0, n] for n in used)
                assert draws[r, k] == pytest.approx(by_hand / sum(weights[n] for n in used))
            used = ~np.isnan(values[k, 0])
            assert mean[k] == pytest.approx(np.average(values[k, 0, used], weights=weights[used]))


def test_draws_do_not_depend_on_the_block_size(monkeypatch):
    values = np.random.default_rng(0).normal(size=(1, 2, 13))
    _, whole = bootstrap_means(values, resamples=50, rng=np.random.default_rng(1))
    monkeypatch.setattr("recsys_posttrain.basic_statistics._BLOCK_ELEMENTS", 40)
    _, parts = bootstrap_means(values, resamples=50, rng=np.random.default_rng(1))
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


def test_standard_error_is_the_analytic_one():
    values = np.random.default_rng(0).normal(2.0, 3.0, (1, 4_000))
    found = bootstrap_interval(values, resamples=4_000, rng=np.random.default_rng(1))
    half = 1.959964 * values.std() / np.sqrt(4_000)
    assert found.value == pytest.approx(values.mean())
    # The quantile of 4,000 normal draws has a standard error of 0.021 half-widths.
    assert found.low == pytest.approx(values.mean() - half, abs=0.08 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.08 * half)


def quantile_error(shape, probability, draws):
    """Relative standard error of a quantile of that many draws."""
    at = shape.ppf(probability)
    return np.sqrt(probability * (1 - probability) / draws) / shape.pdf(at) / abs(at)


@pytest.mark.parametrize(("seeds", "freedom"), [(2, 1), (3, 2), (5, 4), (5, 2)])
def test_where_only_seeds_differ_it_is_the_t_interval_of_the_seed_means(seeds, freedom):
    """All users alike, so the textbook t interval of S values; (5, 2) is given other degrees."""
    seed_S = np.random.default_rng(seeds).normal(size=seeds)
    values = np.repeat(seed_S[:, None], 2, axis=1)
    given = None if freedom == seeds - 1 else [freedom]
    mean, draws = bootstrap_means(
        values[None], freedom_K=given, resamples=40_000, rng=np.random.default_rng(1)
    )
    found = interval(mean[0], draws[:, 0])
    shape = stats.t(freedom)
    half = shape.ppf(0.975) * seed_S.std(ddof=1) / np.sqrt(seeds)
    tolerance = 4 * quantile_error(shape, 0.975, 40_000)
    assert found.value == pytest.approx(seed_S.mean())
    assert found.high - found.value == pytest.approx(half, rel=tolerance)
    assert found.value - found.low == pytest.approx(half, rel=tolerance)


@pytest.mark.parametrize("user_effect", [0.0, 1.0])
def test_variance_of_crossed_effects_is_that_of_the_analysis_of_variance(user_effect):
    """Users + seeds - rest, by loops; 100 seeds, so that the seed part is close to normal."""
    rng = np.random.default_rng(3)
    num_seeds, num_users = 100, 60
    values = user_effect * rng.normal(size=num_users) + rng.normal(size=(num_seeds, 1))
    values = values + rng.normal(0, 4, (num_seeds, num_users))
    weights = rng.uniform(0.5, 1.5, num_users)
    share = weights / weights.sum()
    seed_means = [sum(share * row) for row in values]
    user_means = [column.mean() for column in values.T]
    mean = np.mean(seed_means)
    users = sum((share[n] * (user_means[n] - mean)) ** 2 for n in range(num_users))
    seeds = sum((m - mean) ** 2 for m in seed_means) / num_seeds / (num_seeds - 1)
    rest = 0.0
    for s in range(num_seeds):
        for n in range(num_users):
            left = values[s, n] - user_means[n] - (seed_means[s] - mean)
            rest += (share[n] * left) ** 2 / num_seeds / (num_seeds - 1)
    assert seeds > 0.3 * users
    assert rest > 0.1 * users
    t_variance = (num_seeds - 1) / (num_seeds - 3)
    wanted = max(users - rest, 0) + seeds * t_variance
    _, draws = bootstrap_means(
        values[None], weights_KN=weights, resamples=40_000, rng=np.random.default_rng(1)
    )
    # 4 standard errors of a variance of 40,000 draws are 2.8%; the variance of a ratio under
    # resampling is not exactly its linear form, here by up to 2%.
    assert draws.var() == pytest.approx(wanted, rel=0.048)


def test_all_statistics_see_the_same_draws():
    """A difference of draws is the draw of the difference where the users have no rest."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 1, 50)) + rng.normal(size=(2, 4, 1))
    stacked = np.concatenate([values, values[:1] - values[1:]])
    _, draws = bootstrap_means(stacked, resamples=30, rng=np.random.default_rng(1))
    np.testing.assert_allclose(draws[:, 2], draws[:, 0] - draws[:, 1], rtol=1e-9, atol=1e-12)


def test_nan_users_are_left_out_and_an_empty_subset_is_nan():
    found = bootstrap_interval([[1.0, NAN, 3.0]], rng=np.random.default_rng(0))
    assert (found.value, found.low, found.high) == (2.0, 1.0, 3.0)
    for seeds in (1, 3):
        empty = bootstrap_interval([[NAN, NAN]] * seeds, rng=np.random.default_rng(0))
        assert np.isnan([empty.value, empty.low, empty.high]).all()


def test_p_value_and_interval_by_hand():
    draws = np.array([-1.0] + [2.0] * 98)
    assert p_value(draws) == pytest.approx(2 * 2 / 100)
    assert p_value(-draws) == pytest.approx(2 * 2 / 100)
    found = interval(0.5, np.arange(101.0), confidence=0.9)
    assert [found.value, found.low, found.high] == pytest.approx([0.5, 5.0, 95.0])


def test_p_value_and_interval_agree():
    """p <= .05 where the interval excludes 0, but for the draw between which it interpolates."""
    rng = np.random.default_rng(2)
    values = rng.normal(0.1, 1, (200, 3, 40)) + rng.normal(0, 0.1, (200, 3, 1))
    mean, draws = bootstrap_means(values, resamples=999, rng=rng)
    outside = 0
    for k in range(200):
        found, p = interval(mean[k], draws[:, k]), p_value(draws[:, k])
        excludes = found.low > 0 or found.high < 0
        assert p <= 0.05 + 2 / 1000 if excludes else p > 0.05
        outside += excludes
    assert 20 < outside < 180
