"""The simulated studies have the truth they claim, and intervals and tests hold in a few of them.

The long run, 1,000 studies of each kind, is benchmarks/results/coverage.json.
"""

import numpy as np
import pytest
from scipy.stats import binom, trim_mean

STUDIES = 200
CHANCE = 1e-4  # that a right method falls out of a region below by chance


@pytest.fixture
def coverage(script):
    return script("benchmarks/coverage.py")


def test_the_truth_of_the_studies(coverage):
    """Against averages of 2,000 studies; 4.5 standard errors, over studies, are allowed."""
    study = coverage.Study(seeds=2, seed_effect=1.0, zeros=0.7, shared=0.5, users=50)
    rng = np.random.default_rng(0)
    values = coverage.ndcg(study, 2_000, rng)
    control, better = values[:, 0], values[:, -1]

    def agrees(of_study, truth):
        error = of_study.std() / np.sqrt(len(of_study))
        return abs(of_study.mean() - truth) < 4.5 * error

    assert agrees((control == 0).mean((1, 2)), 0.7)
    for method in (0, 1, 8):
        assert agrees(values[:, method].mean((1, 2)), study.mean)
    assert agrees(better.mean((1, 2)), 1.15 * study.mean)
    above = (better > control).mean((1, 2)) + (better == control).mean((1, 2)) / 2
    assert agrees(above, study.improvement)
    iqm_of_users = trim_mean(coverage.positive(study, 40_000, rng).ravel(), 0.25)
    assert iqm_of_users == pytest.approx(study.positive_iqm, rel=0.002)


def test_the_effect_of_a_seed_is_in_standard_errors(coverage):
    """Without it, and with it: the variance of a seed's mean over studies doubles."""
    variances = [
        coverage.ndcg(
            coverage.Study(seeds=1, seed_effect=effect, zeros=0.7, shared=0.0, users=50),
            4_000,
            np.random.default_rng(0),
        )[:, 0].mean((1, 2)).var()
        for effect in (0.0, 1.0)
    ]  # fmt: skip
    # Each variance of 4,000 means has a standard error of 2.2%; four of their ratio are 13%.
    assert variances[1] / variances[0] == pytest.approx(2, rel=0.13)


@pytest.mark.parametrize(("seeds", "effect"), [(1, 0.0), (3, 1.0), (5, 0.5)])
def test_intervals_and_tests_hold(coverage, seeds, effect):
    row = coverage.measure(coverage.Study(seeds, effect, zeros=0.8, shared=0.9), STUDIES)
    lowest = binom.ppf(CHANCE, STUDIES, 0.95) / STUDIES
    for name, share in row["coverage"].items():
        assert share >= lowest, name
    assert row["any_of_8"] <= binom.ppf(1 - CHANCE, STUDIES, 0.05) / STUDIES
    # Tests that never reject would pass that: an uncorrected one of 5% must reject some.
    assert row["single"] > 0.01


def test_one_seed_cannot_cover_other_seeds(coverage):
    row = coverage.measure(coverage.Study(1, 1.0, zeros=0.8, shared=0.9), STUDIES)
    assert row["coverage"]["mean"] < binom.ppf(CHANCE, STUDIES, 0.95) / STUDIES
    assert row["any_of_8"] > binom.ppf(1 - CHANCE, STUDIES, 0.05) / STUDIES
