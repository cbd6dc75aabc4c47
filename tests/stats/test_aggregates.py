"""Interquartile mean and probability of improvement, against scipy, loops and derivatives."""

import numpy as np
import pytest
from scipy import stats

from recsys_posttrain.stats.aggregates import improvement, iqm_freedom, iqm_over_all, iqm_over_seeds

NAN = np.nan


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 5, 8, 10])
def test_iqm_over_seeds_is_scipys_trimmed_mean_of_the_seed_means(seeds):
    values = np.random.default_rng(seeds).normal(size=(2, seeds, 7))
    weights = np.array([[1.0, 2, 3, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1]])
    seed_KS = [[np.average(v, weights=w) for v in k] for k, w in zip(values, weights, strict=True)]
    pseudo = iqm_over_seeds(values, weights)
    found = [np.average(p.mean(0), weights=w) for p, w in zip(pseudo, weights, strict=True)]
    assert found == pytest.approx(stats.trim_mean(seed_KS, 0.25, axis=1).tolist())
    kept = seeds - 2 * int(0.25 * seeds)
    assert iqm_freedom(seeds) == kept - 1


def test_iqm_ignores_a_seed_that_diverged_and_its_error_is_tukeys_and_mclaughlins():
    """Winsorised: 2 2 3 4 4, mean 3, variance 1; 5 / 3 of its error of the mean, 3 kept of 5."""
    values = np.array([[1.0, 2, 3, 4, 900]])[:, :, None] + np.zeros(4)
    seed_S = iqm_over_seeds(values)[0].mean(1)
    assert seed_S.mean() == pytest.approx(3)
    assert seed_S.std(ddof=1) / np.sqrt(5) == pytest.approx(5 / 3 / np.sqrt(5))


def test_iqm_keeps_what_separates_users():
    values = np.random.default_rng(0).normal(size=(1, 5, 6))
    difference = iqm_over_seeds(values) - values
    np.testing.assert_allclose(difference, difference[:, :, :1] + np.zeros(6), atol=1e-12)


def test_iqm_of_all_values_is_scipys_and_leaves_out_users_with_nan():
    values = np.random.default_rng(1).exponential(size=(2, 3, 9))
    values[1, 2, 4] = NAN
    pseudo = iqm_over_all(values)
    assert pseudo[0].mean() == pytest.approx(stats.trim_mean(values[0].ravel(), 0.25))
    kept = np.delete(values[1], 4, axis=1)
    assert np.isnan(pseudo[1]).sum() == 3
    assert np.nanmean(pseudo[1]) == pytest.approx(stats.trim_mean(kept.ravel(), 0.25))


def test_pseudo_values_of_the_iqm_are_its_derivative():
    """Moving one value by a little moves the statistic by what its pseudo-value moves the mean."""
    values = np.random.default_rng(2).normal(size=(1, 1, 40))
    pseudo = iqm_over_all(values)
    order = np.argsort(values.ravel())
    for at, slope in ((order[3], 0), (order[20], 1 / 20), (order[37], 0)):
        moved = values.copy()
        moved[0, 0, at] += 1e-6
        change = iqm_over_all(moved).mean() - pseudo.mean()
        assert change == pytest.approx(slope * 1e-6, abs=1e-12)
    # In the middle half a unit of value is 40 / 20 units of pseudo-value; outside it is clipped.
    assert np.ptp(pseudo.ravel()[order[:11]]) == 0
    inner = order[10:30]
    np.testing.assert_allclose(
        np.diff(pseudo.ravel()[inner]), 2 * np.diff(values.ravel()[inner]), atol=1e-12
    )


def by_pairs(values_SN, control_SN):
    """rliable's definition, pair by pair: per user over all pairs of seeds, then over users."""
    total = 0.0
    for x_S, y_S in zip(values_SN.T, control_SN.T, strict=True):
        total += np.mean([1.0 if x > y else 0.5 if x == y else 0.0 for x in x_S for y in y_S])
    return total / values_SN.shape[1]


def test_improvement_is_the_share_of_pairs_of_seeds():
    rng = np.random.default_rng(4)
    values, control = rng.integers(0, 4, (2, 3, 4, 6)).astype(float)
    found = improvement(values, control).mean((1, 2))
    assert found.tolist() == pytest.approx(
        [by_pairs(v, c) for v, c in zip(values, control, strict=True)]
    )
    assert improvement(values, values).mean() == pytest.approx(0.5)
    assert (improvement(values + 9, control) == 1).all()


def test_improvement_of_one_run_pairs_with_all_seeds_and_nan_stays():
    found = improvement(np.array([[[2.0, 0.0, NAN]]]), np.array([[[1.0, 1, 1], [2, 1, 1]]]))
    assert found.shape == (1, 2, 3)
    assert found[0].mean(0)[:2].tolist() == [0.75, 0]
    assert np.isnan(found[0, :, 2]).all()


def test_seed_deviations_of_improvement_are_wins_plus_losses_of_the_control():
    """One user, seeds (3, 1) against (2, 0): seed 0 beats both and its 2 loses once in two."""
    found = improvement([[[3.0], [1.0]]], [[[2.0], [0.0]]])[0, :, 0]
    # wins: 1, 1/2; the control of seed 0 is beaten by half, that of seed 1 by all; mean 3/4
    assert found.tolist() == [1 + 0.5 - 0.75, 0.5 + 1 - 0.75]
