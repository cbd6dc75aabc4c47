"""Draws against explicit loops and closed forms. How often intervals are right is simulated in
tests/test_benchmarks_coverage.py."""

import numpy as np
import pytest
from scipy import stats

from recsys_posttrain.stats.bootstrap import (
    ALPHA,
    FEW_USERS,
    MOST_BYTES,
    bootstrap,
    bootstrap_interval,
    draws_for,
    equivalence_p,
    interval,
    p_value,
    smallest_p,
)

NAN = np.nan


def test_draws_match_an_explicit_loop_over_the_same_users():
    """Three seeds that agree: a seed part of 0, and all of the users' variance is their own."""
    rng = np.random.default_rng(5)
    values = np.repeat(rng.normal(size=(2, 1, 11)), 3, axis=1)
    values[1, :, 4] = NAN  # a user outside the subset
    weights = rng.uniform(0.5, 2, 11)
    draws_of = {}
    for seeds in (1, 3):
        mean, draws = bootstrap(
            values[:, :seeds],
            weights_KN=weights,
            resamples=40,
            few_users=0,
            rng=np.random.default_rng(9),
        ).mean_and_draws
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
    whole = bootstrap(values, resamples=50, few_users=0, rng=np.random.default_rng(1)).draws_RK
    monkeypatch.setattr("recsys_posttrain.basic_statistics._BLOCK_ELEMENTS", 40)
    parts = bootstrap(values, resamples=50, few_users=0, rng=np.random.default_rng(1)).draws_RK
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
    mean, draws = bootstrap(
        values[None], freedom_K=given, resamples=40_000, rng=np.random.default_rng(1)
    ).mean_and_draws
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
    draws = bootstrap(
        values[None],
        weights_KN=weights,
        resamples=40_000,
        few_users=0,
        rng=np.random.default_rng(1),
    ).draws_RK
    # 4 standard errors of a variance of 40,000 draws are 2.8%; the variance of a ratio under
    # resampling is not exactly its linear form, here by up to 2%.
    assert draws.var() == pytest.approx(wanted, rel=0.048)


def test_all_statistics_see_the_same_draws():
    """A difference of draws is the draw of the difference where the users have no rest."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 1, 50)) + rng.normal(size=(2, 4, 1))
    stacked = np.concatenate([values, values[:1] - values[1:]])
    draws = bootstrap(stacked, resamples=30, rng=np.random.default_rng(1)).draws_RK
    np.testing.assert_allclose(draws[:, 2], draws[:, 0] - draws[:, 1], rtol=1e-9, atol=1e-12)


def test_nan_users_are_left_out_and_an_empty_subset_is_nan():
    """Of two users 1 and 3: the t quantile of one degree of freedom times a standard error of 1."""
    found = bootstrap_interval([[1.0, NAN, 3.0]], rng=np.random.default_rng(0))
    assert found.value == 2
    tolerance = 4 * quantile_error(stats.t(1), 0.975, 20_000)
    assert [2 - found.low, found.high - 2] == pytest.approx([12.7062] * 2, rel=tolerance)
    for seeds in (1, 3):
        empty = bootstrap_interval([[NAN, NAN]] * seeds, rng=np.random.default_rng(0))
        assert np.isnan([empty.value, empty.low, empty.high]).all()


@pytest.mark.parametrize("users", [5, 30])
def test_few_users_have_the_t_interval_of_their_means(users):
    """Against scipy; with weights, of the linear form of a weighted mean."""
    values = np.random.default_rng(users).exponential(size=users)
    weights = np.random.default_rng(1).integers(1, 4, users).astype(float)
    freedom = users - 1
    error = stats.sem(values)
    of_share = weights / weights.sum() * (values - np.average(values, weights=weights))
    weighted = np.sqrt((of_share**2).sum() * users / freedom)
    tolerance = 4 * quantile_error(stats.t(freedom), 0.975, 40_000)
    for given, mean, deviation in (
        (1.0, values.mean(), error),
        (weights, np.average(values, weights=weights), weighted),
    ):
        rng = np.random.default_rng(3)
        mean_K, draws_RK = bootstrap(
            values[None, None], weights_KN=given, resamples=40_000, rng=rng
        ).mean_and_draws
        found = interval(mean_K[0], draws_RK[:, 0])
        low, high = stats.t.interval(0.95, freedom, loc=mean, scale=deviation)
        assert found.value == pytest.approx(mean)
        assert found.high - mean == pytest.approx(high - mean, rel=tolerance)
        assert mean - found.low == pytest.approx(mean - low, rel=tolerance)


def test_each_statistic_has_the_form_of_its_own_number_of_users():
    """One over all, one over one user fewer than are many, one over a single user."""
    values = np.random.default_rng(0).normal(size=(3, 2, FEW_USERS))
    values[1, :, 0] = NAN
    values[2, :, 1:] = NAN
    mean_K, draws_RK = bootstrap(values, resamples=50, rng=np.random.default_rng(1)).mean_and_draws
    alone_R1 = bootstrap(values[:1], resamples=50, rng=np.random.default_rng(1)).draws_RK
    resampled_RK = bootstrap(
        values, resamples=50, few_users=0, rng=np.random.default_rng(1)
    ).draws_RK
    np.testing.assert_allclose(draws_RK[:, 0], alone_R1[:, 0])
    assert not np.isclose(draws_RK[:, 1], resampled_RK[:, 1]).any()
    assert np.isnan(draws_RK[:, 2]).all(), "one user has no interval"
    assert mean_K[2] == pytest.approx(values[2, :, 0].mean())


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("users", [5, 30])
def test_intervals_of_few_users_hold_the_truth(users, seeds):
    """1,000 studies with normal effects of users and of seeds (none where there is one seed), and
    a rest. Two seeds are too wide rather than too narrow; resamples of 5 users miss."""
    studies, rng = 1_000, np.random.default_rng(users)
    user_effect = rng.normal(size=(studies, 1, users)) + 0.5 * rng.normal(
        size=(studies, seeds, users)
    )
    values = user_effect + (seeds > 1) * 0.2 * rng.normal(size=(studies, seeds, 1))

    def held(few_users):
        mean_K, draws_RK = bootstrap(
            values, resamples=1_000, few_users=few_users, rng=rng
        ).mean_and_draws
        each = (interval(*pair) for pair in zip(mean_K, draws_RK.T, strict=True))
        return sum(found.low <= 0 <= found.high for found in each)

    low, high = stats.binom.ppf([1e-3, 1 - 1e-3], studies, 0.95)
    by_t = held(FEW_USERS)
    assert low <= by_t
    assert by_t <= (high if seeds == 1 else 0.995 * studies)
    if (users, seeds) == (5, 1):
        assert held(0) < low - 50


def test_draws_of_differences_follow_from_those_of_their_terms():
    """Of two seeds, NaN users and weights, as of the differences themselves, for few and many."""
    for users in (40, 150):
        rng = np.random.default_rng(users)
        values = rng.normal(size=(3, 2, users)) + rng.normal(size=(3, 2, 1))
        values[:, :, 3] = NAN
        weights = rng.uniform(0.5, 1.5, users)
        found = bootstrap(values, weights_KN=weights, resamples=20, rng=np.random.default_rng(1))
        value_P, draws_RP = found.differences(np.array([0, 0, 1]), np.array([1, 2, 2]))
        between = np.stack([values[0] - values[1], values[0] - values[2], values[1] - values[2]])
        mean_P, wanted_RP = bootstrap(
            between, weights_KN=weights, resamples=20, rng=np.random.default_rng(1)
        ).mean_and_draws
        np.testing.assert_allclose(value_P, mean_P)
        np.testing.assert_allclose(draws_RP, wanted_RP, rtol=1e-9, atol=1e-12)


def test_equivalence_by_hand():
    """Of 99 draws one is above the margin and none below: (1 + 1) / (99 + 1)."""
    draws = np.array([0.0] * 98 + [0.5])
    assert equivalence_p(draws, 0.4) == pytest.approx(0.02)
    assert equivalence_p(-draws, 0.4) == pytest.approx(0.02)
    assert equivalence_p(draws, 0.5) == pytest.approx(0.02), "at the margin is not within it"
    assert equivalence_p(draws, 0.6) == pytest.approx(0.01)
    assert equivalence_p(draws + 9, 0.6) == 1
    assert np.isnan([equivalence_p(draws, 0.0), equivalence_p(draws, NAN)]).all()
    assert np.isnan(equivalence_p(np.full(3, NAN), 1.0))


def test_equivalence_is_an_interval_of_90_percent_within_the_margin():
    """Schuirmann's two t tests, of 30 users, against scipy."""
    values = np.random.default_rng(7).normal(0.05, 1, 30)
    draws_R1 = bootstrap(values[None, None], rng=np.random.default_rng(0)).draws_RK
    for margin in (0.3, 0.45, 0.6):
        above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
        below = stats.ttest_1samp(values, margin, alternative="less").pvalue
        wanted = max(above, below)
        tolerance = 4 * np.sqrt(wanted / 20_000) + 1 / 20_001
        assert equivalence_p(draws_R1[:, 0], margin) == pytest.approx(wanted, abs=tolerance)


def test_p_value_and_interval_by_hand():
    draws = np.array([-1.0] + [2.0] * 98)
    assert p_value(draws) == pytest.approx(2 * 2 / 100)
    assert p_value(-draws) == pytest.approx(2 * 2 / 100)
    assert p_value(np.ones(99)) == smallest_p(99) == pytest.approx(2 / 100)
    found = interval(0.5, np.arange(101.0), confidence=0.9)
    assert [found.value, found.low, found.high] == pytest.approx([0.5, 5.0, 95.0])


def test_p_value_and_interval_agree():
    """p <= .05 where the interval excludes 0, but for the draw between which it interpolates."""
    rng = np.random.default_rng(2)
    values = rng.normal(0.15, 1, (200, 3, 40)) + rng.normal(0, 0.1, (200, 3, 1))
    mean, draws = bootstrap(values, resamples=999, rng=rng).mean_and_draws
    outside = 0
    for k in range(200):
        found, p = interval(mean[k], draws[:, k]), p_value(draws[:, k])
        excludes = found.low > 0 or found.high < 0
        assert p <= 0.05 + 2 / 1000 if excludes else p > 0.05
        outside += excludes
    assert 20 < outside < 180


@pytest.mark.parametrize("tests", [1, 3, 703, 4950])
def test_so_many_draws_that_a_corrected_test_can_be_significant(tests):
    found = draws_for(tests, at_least=1)
    assert smallest_p(found) * tests <= ALPHA
    assert smallest_p(found - 2) * tests > ALPHA
    assert draws_for(tests, at_least=10**6) == 10**6
    assert draws_for(tests, at_least=1, statistics=10**8) == 1, "no room for the draws"
    assert draws_for(10**9, 1, 1000) * 8 * 1000 <= MOST_BYTES
