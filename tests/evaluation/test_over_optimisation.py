"""Points of a curve against loops, curves of a study and fitted laws by hand."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from data_factory import made_sequences

from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.over_optimisation import (
    BEST_OF_N,
    RL,
    Curve,
    Fit,
    curve_point,
    fit,
    fits,
    mean_curves,
    observed_peak,
)
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.types import Targets
from recsys_posttrain.worlds.base import Truth

D_N = np.array([0.0, 0.5, 1.0, 2.0, 3.0])


def exact(law, a, b, d_N=D_N):
    """Written again from the paper's formulas, point by point."""
    return [
        d * (a - b * d) if law is BEST_OF_N else (d * (a - b * math.log(d)) if d > 0 else 0.0)
        for d in d_N
    ]


@pytest.mark.parametrize("law", [BEST_OF_N, RL], ids=lambda law: law.name)
def test_an_exact_curve_gives_its_coefficients_back(law):
    found = fit(law, D_N, exact(law, 2.0, 0.5))
    assert (found.a, found.b, found.r_squared) == pytest.approx((2.0, 0.5, 1.0), rel=1e-12)
    np.testing.assert_allclose(found.gold(D_N), exact(law, 2.0, 0.5), rtol=1e-12, atol=1e-15)


def test_best_of_n_peak_by_hand():
    """a = 2, b = 1/2: d* = a / (2 b) = 2, KL 4, gold 2 (2 - 1) = 2."""
    found = fit(BEST_OF_N, D_N, exact(BEST_OF_N, 2.0, 0.5))
    assert found.peak_kl == pytest.approx(4.0)
    assert found.gold(2.0) == pytest.approx(2.0)


def test_rl_peak_by_hand():
    """a = b: d* = exp(0) = 1 and gold a; a = 2 b: d* = e, KL e^2; a = -b: exp(-2), KL e^-4."""
    for a, b, peak_kl in ((0.5, 0.5, 1.0), (1.0, 0.5, math.e**2), (-0.5, 0.5, math.exp(-4))):
        found = fit(RL, D_N, exact(RL, a, b))
        assert found.peak_kl == pytest.approx(peak_kl)
        assert found.gold(peak_kl**0.5) == pytest.approx(b * peak_kl**0.5)


def test_a_peak_may_lie_beyond_the_data():
    """a = 2, b = 0.1: d* = 10, KL 100, and the data end at KL 9; or before they begin."""
    assert fit(BEST_OF_N, D_N, exact(BEST_OF_N, 2.0, 0.1)).peak_kl == pytest.approx(100)
    late = fit(BEST_OF_N, [2.0, 3.0, 4.0], exact(BEST_OF_N, 2.0, 1.0, [2.0, 3.0, 4.0]))
    assert late.peak_kl == pytest.approx(1.0)


@pytest.mark.parametrize("law", [BEST_OF_N, RL], ids=lambda law: law.name)
def test_errors_are_those_of_points_that_are_left_out(law):
    """Against a fit without each point in turn."""
    rng = np.random.default_rng(0)
    gold_N = exact(law, 1.5, 0.4) + rng.normal(0, 0.2, len(D_N))
    of_law, of_mean = [], []
    for left_out in range(len(D_N)):
        kept = np.delete(np.arange(len(D_N)), left_out)
        others = fit(law, D_N[kept], gold_N[kept])
        of_law.append(gold_N[left_out] - float(others.gold(D_N[left_out])))
        of_mean.append(gold_N[left_out] - gold_N[kept].mean())
    found = fit(law, D_N, gold_N)
    assert found.error == pytest.approx(math.sqrt(np.mean(np.square(of_law))))
    assert found.error_of_mean == pytest.approx(math.sqrt(np.mean(np.square(of_mean))))


def test_a_law_is_fitted_where_it_says_something():
    """Five points that follow it; one too few; a range below 2; and noise, of which the mean says
    more."""
    follows = np.array(exact(BEST_OF_N, 2.0, 0.5))
    assert fits(Curve(D_N, D_N, follows))[0].law is BEST_OF_N
    assert not fits(Curve(D_N[:4], D_N[:4], follows[:4]))
    narrow = np.array([0.0, 1.0, 1.2, 1.4, 1.9])
    assert not fits(Curve(narrow, narrow, np.array(exact(BEST_OF_N, 2.0, 0.5, narrow))))
    constant = 1 + 0.1 * np.random.default_rng(1).normal(size=5)
    assert not fits(Curve(D_N, D_N, constant))
    assert not fits(Curve(D_N, D_N))


def test_a_peak_has_lower_points_on_both_sides():
    """Two seeds; the point after the top is lower by .5 in both, or by .5 -+ e, with e as the
    standard error, and the t quantile is 6.31: a peak where e is less than .079. Without a point
    after it there is none."""
    root = np.array([0.0, 1.0, 2.0])
    sure = np.array([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]])
    assert observed_peak(root, sure, None) == 1
    for error, peak in ((0.07, 1), (0.1, None), (0.4, None)):
        assert observed_peak(root, sure - [[0, 0, error], [0, 0, -error]], None) == peak
    assert observed_peak(root, sure[:, [0, 2, 1]], None) is None, "it still rises at the end"
    assert observed_peak(root, -sure, None) is None, "the largest is the reference"
    order = [2, 0, 1]
    assert observed_peak(root[order], sure[:, order], None) == 1


def test_of_one_seed_the_noise_is_that_about_the_law():
    """The law is d (2 - d / 2), and two points lie e off it: t_3 sqrt(2 * 2 e^2 / 3) is 2.72 e. The
    end is lower by .5: a peak where e is less than .184."""
    law = Fit(BEST_OF_N, 2.0, 0.5, 1.0, 0.0, 1.0)
    gold_N = np.array([0.0, 0.875, 1.5, 2.0, 1.5])
    assert observed_peak(D_N, gold_N[None], None) is None
    for error, peak in ((0.0, 4), (0.17, 4), (0.2, None)):
        noisy_N = gold_N + error * np.array([0, 1, -1, 0, 0])
        assert observed_peak(D_N, noisy_N[None], law) == peak


@pytest.mark.parametrize(
    ("law", "a", "b"), [(BEST_OF_N, 1.0, -0.1), (BEST_OF_N, -1.0, 0.1), (RL, 1.0, -0.1)]
)
def test_a_curve_that_only_rises_or_falls_has_no_peak(law, a, b):
    found = fit(law, D_N, exact(law, a, b))
    assert found.peak_kl is None


@pytest.mark.parametrize("law", [BEST_OF_N, RL], ids=lambda law: law.name)
def test_with_noise_within_sampling_error(law):
    """400 data sets with a known error: the mean estimates lie within 4 standard errors of the
    truth, and the estimates spread as sigma^2 (F'F)^-1 says (its relative error over 400 sets is
    1 / sqrt(800) = 0.035; 4 of those)."""
    generator = np.random.default_rng(0)
    d_N, sigma = np.linspace(0.1, 3.0, 30), 0.2
    cost_N = [d * d if law is BEST_OF_N else d * math.log(d) for d in d_N]
    basis_N2 = np.stack([d_N, np.negative(cost_N)], axis=1)
    deviation_2 = sigma * np.sqrt(np.diag(np.linalg.inv(basis_N2.T @ basis_N2)))
    gold_N = np.array(exact(law, 1.5, 0.4, d_N))
    fits = [fit(law, d_N, gold_N + sigma * generator.standard_normal(30)) for _ in range(400)]
    found_S2 = np.array([(each.a, each.b) for each in fits])
    assert (np.abs(found_S2.mean(axis=0) - (1.5, 0.4)) < 4 * deviation_2 / math.sqrt(400)).all()
    np.testing.assert_allclose(found_S2.std(axis=0, ddof=1), deviation_2, rtol=4 * 0.035)


def test_r_squared_by_hand():
    """d = 1, 1, 2 and gold 0, 2, 2 at best of n: d (a - b d) passes through the mean 1 at d = 1 and
    2 at d = 2 (a = 1, b = 0). Residuals -1, 1, 0; mean 4/3, total 16/9 + 4/9 + 4/9 = 8/3."""
    found = fit(BEST_OF_N, [1.0, 1.0, 2.0], [0.0, 2.0, 2.0])
    assert (found.a, found.b) == pytest.approx((1.0, 0.0))
    assert found.r_squared == pytest.approx(1 - 2 / (8 / 3))


def test_constant_gold_has_no_r_squared():
    found = fit(BEST_OF_N, D_N, np.zeros(5))
    assert (found.a, found.b) == (0, 0)
    assert math.isnan(found.r_squared)


def test_the_order_of_the_points_does_not_matter():
    order = [3, 0, 4, 2, 1]
    gold_N = np.add(exact(RL, 1.0, 0.5), [0.0, 0.1, -0.1, 0.2, 0.0])
    one, other = fit(RL, D_N, gold_N), fit(RL, D_N[order], gold_N[order])
    assert (one.a, one.b, one.error) == pytest.approx((other.a, other.b, other.error))


@pytest.mark.parametrize(
    ("sqrt_kl", "gold", "sentence"),
    [
        ([0.0, 1.0, 2.0], [0.0, 1.0], "3 values of sqrt KL and 2 of gold"),
        ([0.0, math.nan, 2.0], [0.0, 1.0, 1.0], "point 1 has a value that is not finite"),
        ([0.0, 1.0, 2.0], [0.0, 1.0, math.inf], "point 2 has a value that is not finite"),
        ([-0.5, 1.0, 2.0], [0.0, 1.0, 1.0], "sqrt KL -0.5 is negative"),
        ([1.0, 2.0], [1.0, 1.0], "2 points cannot say"),
        ([], [], "0 points cannot say"),
        ([1.0, 1.0, 1.0], [0.0, 1.0, 2.0], "fewer than 2 different sqrt KL above 0"),
        ([0.0, 0.0, 1.0], [0.0, 0.0, 2.0], "fewer than 2 different sqrt KL above 0"),
    ],
)
def test_points_that_cannot_be_fitted_are_refused(sqrt_kl, gold, sentence):
    with pytest.raises(UserError, match=f"best-of-n law: .*{sentence}"):
        fit(BEST_OF_N, sqrt_kl, gold)


ITEMS = 6
SEEN = [[3, 1], [5], [1, 2, 3, 4, 5, 6], [2, 2, 6]]  # the third has seen everything
USERS = [2, 0, 1, 2]


class Products:
    """A reward model that says the same about a target whatever came before it."""

    def __init__(self, state_NR, factor_VR):
        self.state_NR, self.factor_VR = state_NR, factor_VR

    def last_factors(self, histories, next_times_N, users_N):
        assert users_N.tolist() == USERS
        return self.state_NR, self.factor_VR


@pytest.fixture(scope="module")
def targets():
    history = made_sequences([len(seen) for seen in SEEN], SEEN)
    ones_N = torch.ones(len(SEEN), dtype=torch.int64)
    return Targets(history, ones_N, ones_N.float(), ones_N, torch.tensor(USERS))


def policy_of(seed):
    config = SASRec(dim=4, blocks=1, feed_forward=8, max_length=6)
    policy = new_policy(config, ITEMS, seed)
    with torch.no_grad():
        policy.backbone.item_embedding.weight[1:] *= 20
    return policy.eval()


def probabilities(policy, targets):
    with torch.no_grad():
        state_ND = policy.last_hidden_states(targets.history, targets.times_N)
        logit_NV = (state_ND.double() @ policy.item_embedding_VD.double().T).numpy()
    weight_NV = np.exp(logit_NV - logit_NV.max(axis=1, keepdims=True))
    return weight_NV / weight_NV.sum(axis=1, keepdims=True)


def slow_worth(pi_NV, reward_NV):
    """E[r] over unseen items, averaged over the targets that have any."""
    worth = []
    for n, seen in enumerate(SEEN):
        unseen = [v for v in range(ITEMS) if v + 1 not in seen]
        if unseen:
            share = sum(pi_NV[n, v] for v in unseen)
            worth.append(sum(pi_NV[n, v] * float(reward_NV[n, v]) for v in unseen) / share)
    return np.mean(worth)


def test_a_point_is_the_slow_loop(targets):
    """Scores are rounded to float32 (about 6 significant digits of each probability)."""
    policy, reference = policy_of(0), policy_of(1)
    random = torch.Generator().manual_seed(2)
    proxy = Products(*(torch.randn(n, 3, generator=random) for n in (len(SEEN), ITEMS)))
    state_UR, factor_VR = (torch.randn(n, 2, generator=random) for n in (3, ITEMS))
    truth = Truth(state_UR, factor_VR, np.arange(3), np.arange(ITEMS))
    point = curve_point(policy, reference, targets, {"proxy": proxy}, truth)
    assert list(point) == ["kl", "sqrt_kl", "reward/proxy", "reward/gold"]

    pi_NV, reference_NV = (probabilities(each, targets) for each in (policy, reference))
    kls = []
    for n, seen in enumerate(SEEN):
        unseen = [v for v in range(ITEMS) if v + 1 not in seen]
        if unseen:
            p, q = (each[n, unseen] / each[n, unseen].sum() for each in (pi_NV, reference_NV))
            kls.append(sum(p * np.log(p / q)))
    assert len(kls) < len(SEEN), "one has had everything"
    kl = np.mean(kls)
    assert kl > 0.1, "there is a distance to get wrong"
    assert point["kl"] == pytest.approx(kl, rel=1e-5)
    assert point["sqrt_kl"] == pytest.approx(kl**0.5, rel=1e-5)
    proxy_NV = proxy.state_NR @ proxy.factor_VR.T
    assert point["reward/proxy"] == pytest.approx(slow_worth(pi_NV, proxy_NV), rel=1e-5)
    gold_NV = state_UR[USERS] @ factor_VR.T
    assert point["reward/gold"] == pytest.approx(slow_worth(pi_NV, gold_NV), rel=1e-5)


def test_the_reference_is_at_no_distance_from_itself(targets):
    reference = policy_of(1)
    point = curve_point(reference, reference, targets, {})
    assert point == {"kl": 0, "sqrt_kl": 0}


@pytest.mark.parametrize("law", [BEST_OF_N, RL], ids=lambda law: law.name)
def test_the_law_that_fits_better_comes_first(law):
    points = pd.DataFrame({"step": range(5), "kl": D_N**2, "method": "x", "seed": 0})
    points = points.assign(**{"reward/proxy": 0.0, "reward/gold": exact(law, 2.0, 0.5)})
    curve = mean_curves(points)["x"]
    assert curve.fitted.law is fits(curve)[0].law is law


def test_a_peak_is_that_of_the_gain_on_the_reference():
    """One seed, whose reference is worth 3; the points lie on the law, so there is no noise."""
    points = pd.DataFrame({"step": range(5), "kl": D_N**2, "method": "x", "seed": 0})
    worth = 3 + np.array(exact(BEST_OF_N, 2.0, 0.5))
    points = points.assign(**{"reward/proxy": 0.0, "reward/gold": worth})
    assert mean_curves(points)["x"].peak_kl == pytest.approx(4)


def test_the_truth_judges_before_the_judge_and_without_both_nothing_is_fitted():
    points = pd.DataFrame({"step": range(5), "kl": np.arange(5.0) ** 2, "method": "x", "seed": 0})
    points = points.assign(**{"reward/proxy": 0.0, "reward/judge": 4 - np.arange(5.0)})
    (best, _) = fits(mean_curves(points)["x"])
    assert best.gold(2.0) == pytest.approx(-2)
    truth = points.assign(**{"reward/gold": np.arange(5.0)})
    assert fits(mean_curves(truth)["x"])[0].gold(2.0) == pytest.approx(2)
    assert fits(mean_curves(points.drop(columns="reward/judge"))["x"]) == []
    assert fits(mean_curves(points[:2])["x"]) == []  # one distance is no law
