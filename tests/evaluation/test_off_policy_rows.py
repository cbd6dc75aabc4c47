"""Off-policy estimates in the rows of an evaluation, and whether they can be believed."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from data_factory import made_corpus

from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.evaluation.off_policy import (
    OVERLAP,
    WEIGHT,
    estimates,
    overlap,
)
from recsys_posttrain.evaluation.support import support, support_sentence
from recsys_posttrain.evaluation.true_value import true_value
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.ranker import SameForAll
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.worlds.base import Truth

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
    assert "the log never shows some of what the policy does (" in support(rows).warning


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
        (
            rows_of([*np.ones(500), *np.zeros(2010)] * np.array(5.02)),
            "the effective sample size is below 20% of the targets (500)",
        ),
        (rows_of(even(398)), "the effective sample size is below 400 (394)"),
        (
            rows_of([*even(1000) * 0.94, 60.0]),
            "one target has more than 5% of all weight (6%)",
        ),
        (rows_of(even(), 0.9), "the log never shows some of what the policy does (10%)"),
        (rows_of(even() * 0.8), "the mean weight is not 1, so the log's policy cannot"),
        (rows_of(np.zeros(300)), "the effective sample size is below 400 (nan)"),
    ],
)
def test_what_is_too_poor_is_said(rows, sentence):
    assert sentence in support(rows).warning


def test_what_is_good_enough_is_not():
    assert support(rows_of(even())).warning == ""
    assert support(rows_of(even(406))).warning == ""
    assert support(rows_of([*np.ones(500), *np.zeros(1990)] * np.array(4.98))).warning == ""
    assert support(rows_of(even(), 0.96)).warning == ""


def test_the_sentence_of_a_table():
    """At the worst seed of each method; rows of a log without propensities have none."""
    good = [rows_of(even(), method="BC", seed=seed) for seed in (0, 1)]
    poor = rows_of([*even(998), 0, 1500.0], method="Oracle", seed=1)
    fine = rows_of(even(), method="Oracle", seed=0)
    found = support_sentence(pd.concat([*good, fine, poor], ignore_index=True))
    assert found == (
        "Off-policy estimates read the log's propensities; their effective sample size is 3 to 990 "
        "of 1,000 targets. Not to be believed, because the effective sample size is below 400 "
        "(Oracle 3); one target has more than 5% of all weight (Oracle 60%)."
    )
    worse = pd.concat(
        [poor.assign(seed=0), rows_of(even(50), method="BC", seed=0)], ignore_index=True
    )
    assert support_sentence(worse).endswith(
        "because the effective sample size is below 400 (every row: 3 to 50); one target has more "
        "than 5% of all weight (Oracle 60%)."
    )
    assert support_sentence(pd.DataFrame({"method": ["BC"], "seed": [0]})) == ""
