"""Off-policy estimators: by hand, over all outcomes of a log, in their limits; their coverage."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from data_factory import made_corpus
from scipy.special import softmax

from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.evaluation.off_policy import (
    OVERLAP,
    WEIGHT,
    clipped_ips,
    dr,
    effective_sample_size,
    estimates,
    ips,
    overlap,
    self_normalised_dr,
    snips,
    support,
    support_sentence,
    switch_dr,
)
from recsys_posttrain.evaluation.true_value import true_value
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.ranker import SameForAll
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.worlds.base import Truth

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
    for of in (dr, self_normalised_dr):
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
    assert list(found) == list(wanted)
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


@pytest.mark.parametrize("name", ["reward/ips", "reward/snips", "reward/dr", "reward/sndr"])
def test_intervals_cover_the_truth(replications, name):
    """95% within 92 to 97%; the standard error of a coverage is .7%."""
    truth, values = replications
    mean_R, half_R = values[name].T
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
    assert spread["reward/sndr"] < spread["reward/snips"] < spread["reward/ips"]


# In an evaluation.

ITEMS, USERS = 12, 40


@pytest.fixture(scope="module")
def data():
    """Rewards 10 to 50 that count as 1 to 5 stars; propensities in float64."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, USERS)
    items = [(rng.permutation(ITEMS)[:n] + 1).tolist() for n in lengths]
    corpus = made_corpus(
        lengths.tolist(),
        items,
        rewards=rng.integers(1, 6, lengths.sum()).tolist(),
        item_ids=np.arange(ITEMS),
        reward_scale=RewardScale(40, 50, 20, zero=0, unit=10),
    )
    p_E = torch.from_numpy(rng.uniform(0.02, 0.9, lengths.sum()))
    sequences = replace(corpus.sequences, propensities_E=p_E)
    return LeaveOneOut(1).split(replace(corpus, sequences=sequences))


@pytest.fixture(scope="module")
def policy():
    policy = new_policy(SASRec(dim=8, blocks=1, feed_forward=16, max_length=6), ITEMS, 1)
    with torch.no_grad():
        policy.backbone.item_embedding.weight[1:] *= 3
    return policy


@pytest.fixture(scope="module")
def reward():
    encoder = SASRec(dim=8, blocks=1, feed_forward=16, max_length=6, history_rewards=True)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(2)
        model = RewardEnsemble(encoder, members=2, rank=3).build(ITEMS, 3.0)
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    return model.eval()


def slow_policy(policy, targets):
    """pi over the items that may be shown, [N, V], by one softmax per target."""
    state_ND, table_VD = (each.double() for each in policy.scores(targets.history, targets.times_N))
    pi_NV = np.zeros((len(targets.items_N), ITEMS))
    offsets = targets.history.offsets_N1.tolist()
    for n, (start, stop) in enumerate(itertools.pairwise(offsets)):
        logits_V = (table_VD @ state_ND[n]).detach().numpy()
        shown = np.ones(ITEMS, dtype=bool)
        shown[targets.history.items_E[start:stop].numpy() - 1] = targets.repeats == "allowed"
        pi_NV[n, shown] = np.exp(logits_V[shown]) / np.exp(logits_V[shown]).sum()
    return pi_NV


@pytest.mark.parametrize("part", ["test", "validation"])
@pytest.mark.parametrize("repeats", ["never", "allowed"])
def test_the_rows_of_an_evaluation(data, policy, reward, part, repeats):
    """Validation rows have them too; everything in the log's unit."""
    targets = replace(getattr(data, part), repeats=repeats)
    rows = evaluate(policy, data, reward, targets=targets).per_user
    pi_NV, count = slow_policy(policy, targets), np.arange(len(rows))
    state_NR, factor_VR = reward.last_factors(targets.history, targets.times_N, targets.users_N)
    model_NV = 10 * (state_NR.double() @ factor_VR.double().T).detach().numpy()
    item_N = targets.items_N.numpy() - 1
    weight_N = pi_NV[count, item_N] / targets.propensities_N.numpy()
    reward_N = 10 * targets.rewards_N.double().numpy()
    expected_N = (pi_NV * model_NV).sum(axis=1)
    wanted = estimates(weight_N, reward_N, model_NV[count, item_N], expected_N)
    for name, value_N in {**wanted, WEIGHT: weight_N, OVERLAP: np.ones(len(rows))}.items():
        np.testing.assert_allclose(rows[name], value_N, rtol=2e-5, atol=2e-5)
    assert rows[WEIGHT].max() > 2 * rows[WEIGHT].median()


def test_a_softmax_over_all_items_in_training_is_judged_as_it_is_shown(data, policy):
    """As reward/gold is: what a user had is never shown."""
    free = replace(data.test, catalogue="all")
    found, wanted = (evaluate(policy, data, targets=each).per_user for each in (free, data.test))
    pd.testing.assert_series_equal(found["reward/ips"], wanted["reward/ips"])


def test_without_propensities_or_a_model_they_are_not_offered(data, policy, reward):
    plain = replace(data.test, propensities_N=None)
    rows = evaluate(policy, data, reward, targets=plain).per_user
    assert not {WEIGHT, OVERLAP, "reward/dr", "reward/ips", "reward/dm"} & set(rows)
    rows = evaluate(policy, data).per_user
    assert {WEIGHT, "reward/ips", "reward/snips"} <= set(rows)
    assert not {"reward/dr", "reward/dm", "reward/sndr", "reward/switch-dr"} & set(rows)


def test_items_that_the_log_never_shows_are_no_overlap(data, policy, reward):
    """The policy knows 12 items, the log has none of two of them."""
    hidden = [3, 7]
    corpus = data.corpus
    kept_E = ~torch.isin(corpus.sequences.items_E, torch.tensor(hidden))
    sequences = corpus.sequences
    lengths_N = torch.bincount(
        torch.repeat_interleave(sequences.lengths_N)[kept_E], minlength=USERS
    )
    fields = ("items_E", "rewards_E", "timestamps_E", "propensities_E")
    smaller = replace(
        sequences,
        offsets_N1=torch.cat([lengths_N.new_zeros(1), lengths_N.cumsum(0)]),
        **{name: getattr(sequences, name)[kept_E] for name in fields},
    )
    split = LeaveOneOut(1).split(replace(corpus, sequences=smaller))
    rows = evaluate(policy, split).per_user
    pi_NV = slow_policy(policy, split.test)
    supported_V = ~np.isin(np.arange(1, ITEMS + 1), hidden)
    np.testing.assert_allclose(rows[OVERLAP], overlap(pi_NV, supported_V), rtol=1e-5)
    assert rows[OVERLAP].mean() < 0.95
    assert "the policy is on items that the log never shows" in support(rows).warning


def test_the_true_value_is_met_in_a_log_of_many_users():
    """5,000 users of one event each before the target: IPS, SNIPS and DR within four standard
    errors of `reward/gold`; b leaves out what was seen."""
    rng, users, items = np.random.default_rng(3), 5000, 6
    b_V = rng.dirichlet(np.ones(items))
    key_UV = np.log(b_V) + rng.gumbel(size=(users, items))
    chosen_UL = np.argsort(-key_UV, axis=1)[:, :3] + 1
    left_UL = 1 - np.cumsum(b_V[chosen_UL - 1], axis=1) + b_V[chosen_UL - 1]
    reward_UV = rng.uniform(1, 5, (users, items)) + np.arange(items)
    corpus = made_corpus(
        [3] * users,
        chosen_UL.tolist(),
        rewards=np.take_along_axis(reward_UV, chosen_UL - 1, axis=1).tolist(),
        item_ids=np.arange(items),
    )
    p_E = torch.from_numpy((b_V[chosen_UL - 1] / left_UL).ravel())
    sequences = replace(corpus.sequences, propensities_E=p_E)
    data = LeaveOneOut(1).split(replace(corpus, sequences=sequences))
    ranker = SameForAll(torch.from_numpy(rng.normal(0, 1, items)))
    truth = Truth(
        torch.from_numpy(reward_UV).float(), torch.eye(items), corpus.user_ids, corpus.item_ids
    )
    gold = true_value(ranker, truth, data.test)["reward/gold"]
    rows = evaluate(ranker, data).per_user
    for name in ("reward/ips", "reward/snips"):
        difference_N = rows[name] - gold
        assert abs(difference_N.mean()) < 4 * difference_N.std() / math.sqrt(users)
    found = support(rows)
    assert abs(found.mean - 1) < 4 * found.error
    assert found.warning == ""


# Whether to believe them.


def rows_of(weights, overlaps=1.0, **more):
    return pd.DataFrame({WEIGHT: np.asarray(weights, dtype=float), OVERLAP: overlaps, **more})


def even(count=1000):
    """Mean 1, effective sample size near the count."""
    return np.tile([0.9, 1.1], count // 2)


def test_support_by_hand():
    found = support(rows_of([0.5, 0.5, 3.0], [1.0, 0.5, 0.6]))
    assert found[:2] == (3, pytest.approx(16 / 9.5))
    assert found[2:5] == (3.0, 0.75, pytest.approx(4 / 3))
    assert found.error == pytest.approx(math.sqrt((2 * (5 / 6) ** 2 + (5 / 3) ** 2) / 2 / 3))
    assert found.overlap == pytest.approx(0.7)
    assert found.line == (
        "effective sample size 2 of 3 targets, largest weight 3 (75.0% of all), mean weight 1.33 ± "
        "0.83, overlap 70.0%"
    )


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (rows_of(even(398)), "the effective sample size is 394, below 400"),
        (
            rows_of([*even(1000) * 0.94, 60.0]),
            "one target has 6% of all weight, above 5%",
        ),
        (rows_of(even(), 0.9), "10% of the policy is on items that the log never shows"),
        (rows_of(even() * 0.8), "the mean weight is 0.8 ± 0.0025, not 1: the log's policy cannot"),
        (rows_of(np.zeros(300)), "the effective sample size is nan, below 400"),
    ],
)
def test_what_is_too_poor_is_said(rows, sentence):
    assert sentence in support(rows).warning


def test_what_is_good_enough_is_not():
    assert support(rows_of(even())).warning == ""
    assert support(rows_of(even(406))).warning == ""
    assert support(rows_of(even(), 0.96)).warning == ""


def test_the_sentence_of_a_table():
    """At the worst seed of each method; rows of a log without propensities have none."""
    good = [rows_of(even(), method="BC", seed=seed) for seed in (0, 1)]
    poor = rows_of([*even(998), 0, 1500.0], method="Oracle", seed=1)
    fine = rows_of(even(), method="Oracle", seed=0)
    found = support_sentence(pd.concat([*good, fine, poor], ignore_index=True))
    assert found == (
        "Off-policy estimates read the log's propensities; their effective sample size is 3 to 990 "
        "of 1,000 targets. Not to be believed: Oracle: the effective sample size is 3, below 400; "
        "one target has 60% of all weight, above 5%."
    )
    assert support_sentence(pd.DataFrame({"method": ["BC"], "seed": [0]})) == ""
