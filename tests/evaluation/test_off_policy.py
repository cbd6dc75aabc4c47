"""Off-policy estimators: by hand, over all outcomes of a log, in their limits; their coverage."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import softmax

from recsys_posttrain.evaluation.off_policy import (
    adjusted_dr,
    clipped_ips,
    dr,
    estimates,
    ips,
    overlap,
    self_normalised_dr,
    snips,
    switch_dr,
)
from recsys_posttrain.evaluation.support import effective_sample_size

# One context and three actions; each action is logged once.
PI, B = np.array([0.5, 0.3, 0.2]), np.array([0.25, 0.25, 0.5])
REWARD, MODEL = np.array([1.0, 0.0, 3.0]), np.array([2.0, 1.0, 2.0])
WEIGHTS = PI / B  # 2, 1.2, .4
EXPECTED = np.full(3, 1.7)  # .5 * 2 + .3 * 1 + .2 * 2


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_hand_numbers():
    """R of SNDR is (-2 - 1.2 + .4) / 3.6; the mean of both linearised forms is the ratio."""
    close(ips(WEIGHTS, REWARD), [2, 0, 1.2])
    close(clipped_ips(WEIGHTS, REWARD, 1.5), [1.5, 0, 1.2])
    value = 3.2 / 3.6
    found = snips(WEIGHTS, REWARD)
    close(found, [value + (1 - value) * 2 / 1.2, value - value, value + (3 - value) * 0.4 / 1.2])
    close(found.mean(), value)
    close(dr(WEIGHTS, REWARD, MODEL, EXPECTED), [-0.3, 0.5, 2.1])
    close(self_normalised_dr(WEIGHTS, REWARD, MODEL, EXPECTED).mean(), 1.7 - 2.8 / 3.6)
    close(switch_dr(WEIGHTS, REWARD, MODEL, EXPECTED, 1.2), [1.7, 0.5, 2.1])
    assert effective_sample_size(WEIGHTS) == pytest.approx(3.6**2 / 5.6, rel=1e-12)


def test_adjusted_dr_by_hand():
    """Weights 0, 1 and 2 with y = 1, 0 and 4: the line is 5/3 + 3/2 (w - 1), and through two of
    them at w = 1: 0 without the first, 5/2 without the second, 0 without the third."""
    weight_N, y_N = np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.0, 4.0])
    # Under a model of 0, y is what is expected and w r.
    expected_N, reward_N = np.array([1.0, 0.0, 0.0]), np.array([7.0, 0.0, 2.0])
    close(dr(weight_N, reward_N, np.zeros(3), expected_N), y_N)
    without = np.array([0.0, 2.5, 0.0])
    close(adjusted_dr(weight_N, reward_N, np.zeros(3), expected_N), 3 * 5 / 3 - 2 * without)


def test_adjusted_dr_is_the_jackknife_of_a_regression():
    """By fitting the line anew without each target."""
    known = drawn(4, 60)
    weight_N, y_N = known[0], dr(*known)

    def at_one(kept_N):
        columns = np.stack([np.ones(kept_N.sum()), weight_N[kept_N] - 1], axis=1)
        return np.linalg.lstsq(columns, y_N[kept_N], rcond=None)[0][0]

    all_N = np.ones(60, dtype=bool)
    without = [at_one(all_N & (np.arange(60) != left)) for left in range(60)]
    wanted_N = 60 * at_one(all_N) - 59 * np.array(without)
    np.testing.assert_allclose(adjusted_dr(*known), wanted_N, rtol=1e-8)


def test_limits_of_adjusted_dr():
    """What weights explain wholly is taken out; equal weights explain nothing; a target that alone
    has another weight decides the slope, and has no say beside it."""
    weight_N, nothing_N = np.array([0.5, 0.2, 3.0, 1.1]), np.zeros(4)
    close(adjusted_dr(weight_N, nothing_N, nothing_N, 2 + 5 * (weight_N - 1)), np.full(4, 2.0))
    same = np.full(4, 0.7), np.array([1.0, 2.0, 3.0, 5.0]), nothing_N, np.ones(4)
    close(adjusted_dr(*same), dr(*same))
    for size in (1.0, 1e6):
        rounded = size * same[0] * (1 + 1e-15 * np.array([1, -1, 2, 0])), *same[1:]
        close(adjusted_dr(*rounded), dr(*rounded))
    alone = np.array([1.0, 1.0, 1.0, 4.0]), nothing_N, nothing_N, np.array([1.0, 2.0, 3.0, 9.0])
    assert np.isfinite(adjusted_dr(*alone)).all()
    close(adjusted_dr(*alone).mean(), 2.0)


def test_overlap_by_hand():
    """Of a full policy of the log, and of the items that it showed at all."""
    pi = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    close(overlap(pi, np.array([[0.0, 0.1, 0.9], [1.0, 0.0, 0.0]])), [0.5, 0.1])
    close(overlap(pi, np.array([True, True, False])), [0.8, 0.2])


# Two contexts, three actions, a log of one event in each: nine outcomes.
PI_XA = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
B_XA = np.array([[0.2, 0.2, 0.6], [0.7, 0.2, 0.1]])
R_XA = np.array([[1.0, 0.0, 3.0], [5.0, 2.0, 4.0]])
WRONG_XA = np.array([[9.0, -2.0, 1.0], [0.0, 3.0, -7.0]])  # a model
TRUE_VALUE = float((PI_XA * R_XA).sum(axis=1).mean())


def expectation(of):
    """E_b[mean of `of` over the log], by all outcomes. of: (w, r, r_hat, v_hat) -> per target."""
    total, contexts = 0.0, np.arange(2)
    for actions in itertools.product(range(3), repeat=2):
        chosen = contexts, np.array(actions)
        weight = PI_XA[chosen] / B_XA[chosen]
        value = of(weight, R_XA[chosen], WRONG_XA[chosen], (PI_XA * WRONG_XA).sum(axis=1))
        total += B_XA[chosen].prod() * value.mean()
    return total


def test_ips_and_dr_are_unbiased_whatever_the_model():
    assert expectation(lambda w, r, *_: ips(w, r)) == pytest.approx(TRUE_VALUE, abs=1e-12)
    assert expectation(dr) == pytest.approx(TRUE_VALUE, abs=1e-12)


def test_the_biases_are_their_closed_forms():
    """DM: E_pi[r_hat - r]. SWITCH-DR: the same over actions with w > tau alone. Clipping: the
    reward under what is cut off."""
    weight_XA = PI_XA / B_XA
    error_XA = PI_XA * (WRONG_XA - R_XA)
    dm = expectation(lambda *known: known[3])
    assert dm - TRUE_VALUE == pytest.approx(error_XA.sum(axis=1).mean(), abs=1e-12)
    for tau in (0.0, 0.4, 1.0, 2.0, 8.0):
        found = expectation(lambda *known, tau=tau: switch_dr(*known, tau))
        bias = (error_XA * (weight_XA > tau)).sum(axis=1).mean()
        assert found - TRUE_VALUE == pytest.approx(bias, abs=1e-12)
    for cap in (0.0, 0.5, 1.7, 100.0):
        found = expectation(lambda w, r, *_, cap=cap: clipped_ips(w, r, cap))
        wanted = (np.minimum(PI_XA, cap * B_XA) * R_XA).sum(axis=1).mean()
        assert found == pytest.approx(wanted, abs=1e-12)


def test_what_b_never_shows_is_missing_and_the_mean_weight_says_so():
    b_XA = np.array([[0.0, 0.4, 0.6], [0.7, 0.3, 0.0]])
    mean = value = 0.0
    for x, a in itertools.product(range(2), range(3)):
        if b_XA[x, a]:
            w = PI_XA[x, a] / b_XA[x, a]
            mean += b_XA[x, a] * w / 2
            value += b_XA[x, a] * w * R_XA[x, a] / 2
    assert mean == pytest.approx(overlap(PI_XA, b_XA).mean(), abs=1e-12)
    assert value < TRUE_VALUE


def drawn(seed, targets=400):
    rng = np.random.default_rng(seed)
    return rng.lognormal(0, 1, targets), *rng.normal(3, 1, (3, targets))


def test_limits():
    weight_N, reward_N, model_N, expected_N = drawn(0)
    close(clipped_ips(weight_N, reward_N, math.inf), ips(weight_N, reward_N))
    close(clipped_ips(weight_N, reward_N, 0.0), 0)
    close(switch_dr(weight_N, reward_N, model_N, expected_N, 0.0), expected_N)
    of_dr = dr(weight_N, reward_N, model_N, expected_N)
    close(switch_dr(weight_N, reward_N, model_N, expected_N, math.inf), of_dr)
    zero_N = np.zeros(400)
    close(dr(weight_N, reward_N, zero_N, zero_N), ips(weight_N, reward_N))
    close(self_normalised_dr(weight_N, reward_N, zero_N, zero_N), snips(weight_N, reward_N))
    close(dr(weight_N, reward_N, reward_N, expected_N), expected_N)  # a right model
    one_N = np.ones(400)  # the policy of the log itself
    for found in (ips(one_N, reward_N), snips(one_N, reward_N)):
        close(found, reward_N)
    assert effective_sample_size(one_N) == pytest.approx(400)
    assert effective_sample_size(one_N * (np.arange(400) == 7)) == pytest.approx(1)


def test_a_shift_of_the_rewards_shifts_what_is_self_normalised():
    """And DR, whose model is shifted too; IPS by the mean weight."""
    weight_N, reward_N, model_N, expected_N = drawn(1)
    close(snips(weight_N, reward_N + 10), snips(weight_N, reward_N) + 10)
    shifted = reward_N + 10, model_N + 10, expected_N + 10
    for of in (dr, self_normalised_dr, adjusted_dr):
        close(of(weight_N, *shifted), of(weight_N, reward_N, model_N, expected_N) + 10)
    found = ips(weight_N, reward_N + 10).mean() - ips(weight_N, reward_N).mean()
    assert found == pytest.approx(10 * weight_N.mean())
    assert found != pytest.approx(10, abs=0.1)


def test_weights_of_zero_have_no_self_normalised_value():
    assert np.isnan(snips(np.zeros(3), np.ones(3))).all()
    assert np.isnan(effective_sample_size(np.zeros(3)))


def test_all_estimators_against_loops():
    """An independent implementation, target by target; cap and tau are the root of N."""
    known = [each.tolist() for each in drawn(2, 90)]
    found = estimates(*known)
    w, r, model, v = known
    n, root = len(w), math.sqrt(90)
    value = sum(a * b for a, b in zip(w, r, strict=True)) / sum(w)
    rest = sum(a * (b - c) for a, b, c in zip(w, r, model, strict=True)) / sum(w)
    mean = sum(w) / n
    wanted = {
        "reward/ips": [w[i] * r[i] for i in range(n)],
        "reward/clipped-ips": [(w[i] if w[i] < root else root) * r[i] for i in range(n)],
        "reward/snips": [value + w[i] * (r[i] - value) / mean for i in range(n)],
        "reward/dm": v,
        "reward/dr": [v[i] + w[i] * (r[i] - model[i]) for i in range(n)],
        "reward/sndr": [v[i] + rest + w[i] * (r[i] - model[i] - rest) / mean for i in range(n)],
        "reward/switch-dr": [
            v[i] + (w[i] * (r[i] - model[i]) if w[i] <= root else 0) for i in range(n)
        ],
    }
    assert list(found) == [*list(wanted)[:-1], "reward/adjusted-dr", "reward/switch-dr"]
    for name, value_N in wanted.items():
        np.testing.assert_allclose(found[name], value_N, rtol=1e-9)
    assert max(w) > root, "clipping and switching do something"
    assert list(estimates(w, r)) == list(wanted)[:3]


def test_the_spread_of_snips_is_that_of_the_ratio():
    """The delta method by hand: var(w r - V w) / mean(w)^2; not that of w r / mean(w)."""
    weight_N, reward_N, *_ = drawn(3)
    value = (weight_N * reward_N).sum() / weight_N.sum()
    by_hand = np.var(weight_N * reward_N - value * weight_N) / weight_N.mean() ** 2
    assert snips(weight_N, reward_N).var() == pytest.approx(by_hand, rel=1e-9)
    assert by_hand < np.var(weight_N * reward_N) / weight_N.mean() ** 2 / 2


REPLICATIONS = 1000


@pytest.fixture(scope="module")
def replications():
    """Estimators' intervals in 1,000 logs of 300 targets: 4 contexts, 6 actions, rewards with
    noise, and a model with an error of its own for each choice."""
    rng = np.random.default_rng(5)
    logits_XA = rng.normal(0, 1, (4, 6))
    pi_XA, b_XA = softmax(logits_XA, axis=1), softmax(0.4 * logits_XA[::-1], axis=1)
    r_XA = rng.normal(3, 1, (4, 6))
    model_XA = r_XA + 0.7 + rng.normal(0, 0.5, (4, 6))
    values = {}
    for _ in range(REPLICATIONS):
        x_N = rng.integers(0, 4, 300)
        a_N = (b_XA[x_N].cumsum(axis=1) < rng.random((300, 1))).sum(axis=1)
        found = estimates(
            pi_XA[x_N, a_N] / b_XA[x_N, a_N],
            r_XA[x_N, a_N] + rng.normal(0, 1, 300),
            model_XA[x_N, a_N],
            (pi_XA * model_XA).sum(axis=1)[x_N],
        )
        for name, value_N in found.items():
            half = 1.96 * value_N.std(ddof=1) / math.sqrt(300)
            values.setdefault(name, []).append((value_N.mean(), half))
    return float((pi_XA * r_XA).sum(axis=1).mean()), {k: np.array(v) for k, v in values.items()}


@pytest.mark.parametrize("name", ["ips", "snips", "dr", "sndr", "adjusted-dr"])
def test_intervals_cover_the_truth(replications, name):
    """95% within 92 to 97%; the standard error of a coverage is .7%."""
    truth, values = replications
    mean_R, half_R = values[f"reward/{name}"].T
    assert 0.92 <= (np.abs(mean_R - truth) <= half_R).mean() <= 0.97
    assert abs(mean_R.mean() - truth) < 4 * mean_R.std() / math.sqrt(REPLICATIONS) + 0.005


def test_a_wrong_model_alone_misses_the_truth_and_dr_varies_less_than_ips(replications):
    truth, values = replications
    mean_R, half_R = values["reward/dm"].T
    assert (np.abs(mean_R - truth) <= half_R).mean() < 0.1
    assert mean_R.mean() - truth > 0.4
    spread = {name: mean_R[:, 0].std() for name, mean_R in values.items()}
    # The model's error has a mean of .7 stars, which only the self-normalised form takes out.
    assert spread["reward/sndr"] < spread["reward/dr"] < spread["reward/ips"]
    assert spread["reward/adjusted-dr"] < spread["reward/dr"]
    assert spread["reward/sndr"] < spread["reward/snips"] < spread["reward/ips"]
