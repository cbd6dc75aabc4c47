import numpy as np
import pytest

from recsys_posttrain.evaluation.statistics import (
    bootstrap_interval,
    bootstrap_means,
    effect_size,
    holm,
    interval,
    p_value,
    paired_difference,
)

NAN = np.nan


def test_draws_match_an_explicit_loop_over_the_same_indices():
    rng = np.random.default_rng(5)
    values = rng.normal(size=(2, 3, 11))
    values[1, :, 4] = NAN  # a user outside the subset
    weights = rng.uniform(0.5, 2, (1, 1, 11))
    mean, draws = bootstrap_means(
        values, weights_KSN=weights, resamples=40, rng=np.random.default_rng(9)
    )
    again = np.random.default_rng(9)
    seeds_R = again.integers(0, 3, (40, 3))
    users_R = again.integers(0, 11, (40, 11))
    for k in range(2):
        for r in range(40):
            top = bottom = 0.0
            for s in seeds_R[r]:
                for n in users_R[r]:
                    if not np.isnan(values[k, s, n]):
                        top += weights[0, 0, n] * values[k, s, n]
                        bottom += weights[0, 0, n]
            assert draws[r, k] == pytest.approx(top / bottom)
        used = ~np.isnan(values[k, 0])
        by_hand = np.average(values[k].mean(0)[used], weights=weights[0, 0, used])
        assert mean[k] == pytest.approx(by_hand)


def test_draws_do_not_depend_on_the_block_size(monkeypatch):
    values = np.random.default_rng(0).normal(size=(1, 2, 13))
    _, whole = bootstrap_means(values, resamples=50, rng=np.random.default_rng(1))
    monkeypatch.setattr("recsys_posttrain.evaluation.statistics._BLOCK_ELEMENTS", 40)
    _, parts = bootstrap_means(values, resamples=50, rng=np.random.default_rng(1))
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


def test_standard_error_is_the_analytic_one():
    values = np.random.default_rng(0).normal(2.0, 3.0, (1, 4_000))
    found = bootstrap_interval(values, resamples=4_000, rng=np.random.default_rng(1))
    half = 1.959964 * values.std() / np.sqrt(4_000)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.08 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.08 * half)


def test_seeds_widen_the_interval():
    users = np.random.default_rng(0).normal(0, 1, 400)
    same = np.stack([users, users, users])
    apart = same + np.array([[-1.0], [0.0], [1.0]])
    narrow = bootstrap_interval(same, rng=np.random.default_rng(2))
    wide = bootstrap_interval(apart, rng=np.random.default_rng(2))
    # The spread of a mean of 3 draws from {-1, 0, 1} is sqrt(2 / 3 / 3) = 0.471.
    assert wide.high - wide.low > 1.0 > 5 * 0.1 > narrow.high - narrow.low


def test_nan_users_are_left_out_and_an_empty_subset_is_nan():
    found = bootstrap_interval([[1.0, NAN, 3.0]], rng=np.random.default_rng(0))
    assert (found.mean, found.low, found.high) == (2.0, 1.0, 3.0)
    empty = bootstrap_interval([[NAN, NAN]], rng=np.random.default_rng(0))
    assert np.isnan([empty.mean, empty.low, empty.high]).all()


def test_pairing_sees_a_small_but_constant_gain():
    control = np.random.default_rng(0).normal(0, 5, (3, 300))
    noise = np.random.default_rng(1).normal(0, 0.1, (3, 300))
    found = paired_difference(control + 0.05 + noise, control, rng=np.random.default_rng(2))
    assert found.low > 0
    assert found.p_value == pytest.approx(2 / 2001)
    gain = (0.05 + noise).mean(0)
    assert found.effect_size == pytest.approx(gain.mean() / gain.std(ddof=1))
    back = paired_difference(control, control + 0.05 + noise, rng=np.random.default_rng(2))
    assert back.high == pytest.approx(-found.low)
    same = paired_difference(control, control, rng=np.random.default_rng(2))
    assert (same.mean, same.p_value, same.effect_size) == (0, 1, 0)


def test_one_run_pairs_with_all_seeds():
    found = paired_difference([[1.0, 2.0]], [[0.0, 0.0], [1.0, 1.0]], rng=np.random.default_rng(0))
    assert found.mean == 1.0


def test_p_value_and_interval_by_hand():
    draws = np.array([-1.0] + [2.0] * 98)
    assert p_value(draws) == pytest.approx(2 * 2 / 100)
    assert p_value(-draws) == pytest.approx(2 * 2 / 100)
    found = interval(0.5, np.arange(101.0), confidence=0.9)
    assert [found.mean, found.low, found.high] == pytest.approx([0.5, 5.0, 95.0])


def test_effect_size_weights_by_hand():
    # weights 1, 3: mean 1.5, variance (2.25 + 3 * .25) / 4 = .75, times 2 / 1
    assert effect_size([[0.0, 2.0]], [1.0, 3.0]) == pytest.approx(1.5 / np.sqrt(1.5))
    assert np.isnan(effect_size([[1.0, NAN]]))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = holm([0.5, NAN, 0.02])
    assert found[[0, 2]].tolist() == pytest.approx([0.5, 0.04])
    assert np.isnan(found[1])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
