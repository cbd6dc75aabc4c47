"""Rank correlation within groups, against SciPy. Draws: tests/stats/test_bootstrap.py."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from recsys_posttrain.basic_statistics import spearman


@pytest.mark.parametrize("levels", [1, 2, 5, 200])
def test_spearman_is_scipys_within_each_group(levels):
    """Unsorted groups with gaps in their ids, tied values, and a group of one."""
    generator = np.random.default_rng(levels)
    group = generator.integers(25, size=400) * 3 + 5
    group[0] = 1000
    second = generator.integers(levels, size=400) * 0.5
    first = np.round(second + generator.normal(scale=levels / 2, size=400), 1)
    found = spearman(first, second, group)
    assert len(found) == len(np.unique(group))
    for one, rho in zip(np.unique(group), found, strict=True):
        x, y = first[group == one], second[group == one]
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            assert np.isnan(rho)
        else:
            assert rho == pytest.approx(spearmanr(x, y).statistic)


def test_a_group_where_one_of_the_two_is_constant_has_no_order():
    group = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    first = [3.1, 3.1, 3.1, 1.0, 2.0, 3.0, 3.0, 2.0, 1.0]
    second = [1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 1.0, 2.0, 3.0]
    assert spearman(first, second, group) == pytest.approx([np.nan, np.nan, -1], nan_ok=True)
