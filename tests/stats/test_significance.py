"""Paired differences, effect size and Holm's correction, by hand."""

import numpy as np
import pytest

from recsys_posttrain.stats.significance import effect_size, holm, paired_difference

NAN = np.nan


def test_pairing_sees_a_small_but_constant_gain():
    control = np.random.default_rng(0).normal(0, 5, (10, 300))
    noise = np.random.default_rng(1).normal(0, 0.1, (10, 300))
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
