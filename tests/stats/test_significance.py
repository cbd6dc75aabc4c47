"""Effect size and Holm's correction, by hand."""

import numpy as np
import pytest

from recsys_posttrain.stats.significance import effect_size, holm

NAN = np.nan


def test_effect_size_by_hand():
    """Users' means over the seeds 1, 2, 3: mean 2, deviation 1."""
    assert effect_size([[0.0, 2, 3], [2.0, 2, 3]]) == pytest.approx(2)
    assert effect_size([[0.0, 0.0]]) == 0
    assert effect_size([[-1.0, -1.0]]) == -np.inf
    # weights 1, 3: mean 1.5, variance (2.25 + 3 * .25) / 4 = .75, times 2 / 1
    assert effect_size([[0.0, 2.0]], [1.0, 3.0]) == pytest.approx(1.5 / np.sqrt(1.5))
    assert np.isnan(effect_size([[1.0, NAN]]))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = holm([0.5, NAN, 0.02])
    assert found[[0, 2]].tolist() == pytest.approx([0.5, 0.04])
    assert np.isnan(found[1])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
