"""What every error field has in common, and what each kind's level says."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from data_factory import made_corpus, made_sequences
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.repeats import Rule, rule_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.models.next_action import next_factors
from recsys_posttrain.rewards.noise import (
    Flips,
    Gaussian,
    Independent,
    ItemBias,
    PopularityBias,
    RareOptimism,
    Starvation,
    UserBias,
)
from recsys_posttrain.rewards.noise.base import normals

DRAWN = (Gaussian, Independent, ItemBias, UserBias)
KINDS = (*DRAWN, PopularityBias, RareOptimism)
LENGTH = 8
ALMOST_SURE = 1e-6  # a right draw is outside such a band once in a million; draws are fixed


def errors(small, noise, batch, seed=0):
    """e of every item at every real position, [N, V], through the slow product."""
    small.reference.clear_cache()
    state_NQ, factor_VQ = noise.field(small.data, small.reference, seed)(batch)
    return (state_NQ.double() @ factor_VQ.double().T).numpy()


def usable(small):
    return (small.data.train.lengths_N >= 2).nonzero().squeeze(1)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**40), level=st.floats(0.01, 10))
def test_an_error_is_a_function_of_seed_history_and_item(small, kind, data, seed, level):
    """Whatever else is in the batch, in any order: float32 states differ by rounding at most."""
    rows = data.draw(st.lists(st.sampled_from(usable(small).tolist()), min_size=1, unique=True))
    batch = batch_of(small.data.train, torch.tensor(rows), LENGTH)
    together_NV = errors(small, kind(level), batch, seed)
    user_N = batch.user_N.numpy()
    for row in rows:
        alone = batch_of(small.data.train, torch.tensor([row]), LENGTH)
        alone_NV = errors(small, kind(level), alone, seed)
        np.testing.assert_allclose(together_NV[user_N == row], alone_NV, atol=1e-5 * level)
    np.testing.assert_array_equal(together_NV, errors(small, kind(level), batch, seed))
    unit_NV = errors(small, kind(1.0), batch, seed)
    np.testing.assert_allclose(together_NV, level * unit_NV, atol=1e-5 * level)
    other_NV = errors(small, kind(level), batch, seed + 1)
    assert np.array_equal(together_NV, other_NV) == (kind not in DRAWN)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_reads_neither_the_action_nor_any_reward(small, kind):
    batch = batch_of(small.data.train, usable(small), LENGTH)
    changed = batch._replace(
        actions_BT=batch.actions_BT.flip(0),
        rewards_BT=batch.rewards_BT + 1,
        history_rewards_BT=batch.history_rewards_BT * 2,
    )
    assert np.array_equal(errors(small, kind(1.0), batch), errors(small, kind(1.0), changed))


def assert_variance(errors_X, level):
    """Independent N(0, level^2): their squares add up to a chi-square variable."""
    low, high = stats.chi2.ppf([ALMOST_SURE, 1 - ALMOST_SURE], errors_X.size)
    assert low < np.square(errors_X / level).sum() < high


def one_user(small):
    return batch_of(small.data.train, torch.tensor([1]), LENGTH)


@pytest.mark.parametrize("kind", [Gaussian, Independent])
def test_errors_of_one_history_are_independent_normals_over_items(small, kind):
    batch = one_user(small)
    last_SV = np.stack([errors(small, kind(0.7), batch, seed)[-1] for seed in range(100)])
    assert_variance(last_SV, 0.7)
    assert stats.kstest(last_SV.ravel() / 0.7, "norm").pvalue > ALMOST_SURE
    product_S = last_SV[:, 0] * last_SV[:, 1] / 0.7**2  # mean 0, variance 1
    assert abs(product_S.mean()) < 5 / np.sqrt(100)


def test_gaussian_errors_of_two_histories_correlate_by_the_cosine_of_their_states(small):
    batch = batch_of(small.data.train, usable(small)[:12], LENGTH)
    hidden_ND = small.reference.hidden_states(batch).double().numpy()
    unit_ND = hidden_ND / np.linalg.norm(hidden_ND, axis=1, keepdims=True)
    cosines_N = unit_ND[1:] @ unit_ND[0]
    other = 1 + int(np.abs(np.abs(cosines_N) - 0.5).argmin())  # neither alike nor unrelated
    cosine = cosines_N[other - 1]
    drawn = [errors(small, Gaussian(2.0), batch, seed)[[0, other]] for seed in range(200)]
    product_X = np.concatenate([first * second for first, second in drawn]) / 2.0**2
    assert 0.2 < abs(cosine) < 0.9
    assert abs(product_X.mean() - cosine) < 5 * np.sqrt((1 + cosine**2) / product_X.size)


def test_independent_errors_of_two_histories_do_not_correlate(small):
    """Histories one event apart. For one draw the sum of products over V items has the variance
    V + V (V + 1) c^2 for unit vectors of cosine c, and c^2 is 1 / 32 on average."""
    batch = one_user(small)
    drawn = [errors(small, Independent(1.0), batch, seed)[-2:] for seed in range(150)]
    sum_S = np.array([(first * second).sum() for first, second in drawn])
    items = drawn[0].shape[1]
    variance = items + items * (items + 1) / 32
    assert abs(sum_S.mean()) < 5 * np.sqrt(variance / len(sum_S))


def test_independent_errors_are_those_of_the_set_of_visible_items(small):
    batch = batch_of(small.data.train, torch.tensor([1]), LENGTH)
    swapped_BT = batch.history_BT.clone()
    swapped_BT[0, [0, 1]] = swapped_BT[0, [1, 0]]
    assert swapped_BT[0, 0] != swapped_BT[0, 1]
    swapped = batch._replace(history_BT=swapped_BT)
    one_NV, other_NV = (errors(small, Independent(1.0), each) for each in (batch, swapped))
    assert np.array_equal(one_NV[1:], other_NV[1:])
    assert not np.array_equal(one_NV[0], other_NV[0])


def test_item_bias_is_one_normal_per_item(small):
    batch = batch_of(small.data.train, usable(small), LENGTH)
    drawn_SNV = [errors(small, ItemBias(0.3), batch, seed) for seed in range(50)]
    assert all(np.ptp(drawn_NV, axis=0).max() == 0 for drawn_NV in drawn_SNV)
    assert_variance(np.stack([drawn_NV[0] for drawn_NV in drawn_SNV]), 0.3)


def test_user_bias_is_one_normal_per_user(small):
    """In every batch, for all items and all positions."""
    batch = batch_of(small.data.train, usable(small), LENGTH)
    user_N = batch.user_N.numpy()
    biases = []
    for seed in range(50):
        drawn_NV = errors(small, UserBias(1.5), batch, seed)
        for user in np.unique(user_N):
            assert np.ptp(drawn_NV[user_N == user]) == 0
            biases.append(drawn_NV[user_N == user][0, 0])
    assert len(set(biases)) == len(biases)
    assert_variance(np.array(biases), 1.5)


def test_popularity_bias_is_standardised_log_popularity(small):
    batch = batch_of(small.data.train, usable(small), LENGTH)
    error_NV = errors(small, PopularityBias(0.4), batch)
    count_V = [small.data.train.items_E.tolist().count(item) for item in range(1, 31)]
    log_V = np.log(1 + np.array(count_V))
    np.testing.assert_allclose(error_NV[3], 0.4 * stats.zscore(log_V), atol=1e-6)
    assert error_NV[3].std() == pytest.approx(0.4, abs=1e-6)
    assert np.argmax(error_NV[3]) == np.argmax(count_V)


def test_optimism_is_minus_the_standardised_log_probability(small):
    batch = batch_of(small.data.train, usable(small), LENGTH)
    every_NV = torch.arange(1, 31).expand(len(batch.action_N), 30)
    log_pi_NV = small.reference.log_prob(batch, every_NV).double().numpy()
    error_NV = errors(small, RareOptimism(0.8), batch)
    # float32 logits of this reference reach tens, of which rounding leaves 1e-6 each.
    np.testing.assert_allclose(error_NV, -0.8 * stats.zscore(log_pi_NV, axis=1), atol=1e-4)
    np.testing.assert_allclose(error_NV.std(axis=1), 0.8, atol=1e-5)
    assert np.array_equal(error_NV.argmax(axis=1), log_pi_NV.argmin(axis=1))


def test_optimism_is_standardised_over_the_eligible_items(small):
    """One item at a time in NumPy, in training and after whole histories, seen items aside."""
    train, noise = small.data.train, RareOptimism(0.8)
    batch = batch_of(train, usable(small), LENGTH, rule=Rule(history=True))
    every_NV = torch.arange(1, 31).expand(len(batch.action_N), 30)
    log_pi_NV = small.reference.log_prob(batch, every_NV).double().numpy()
    error_NV = errors(small, noise, batch)
    seen, ends = batch.excluded.items_E.numpy() - 1, batch.excluded.offsets_N1.tolist()
    for n in range(len(error_NV)):
        eligible = np.setdiff1d(np.arange(30), seen[ends[n] : ends[n + 1]])
        expected = -0.8 * stats.zscore(log_pi_NV[n, eligible])
        np.testing.assert_allclose(error_NV[n, eligible], expected, atol=1e-4)
    field = noise.field(small.data, small.reference, 0)
    targets = small.data.test
    state_NQ, factor_VQ = next_factors(field, targets.history, LENGTH)
    hidden_ND = small.reference.last_hidden_states(targets.history)
    for n, items in enumerate(targets.history.items_E.split(targets.history.lengths_N.tolist())):
        eligible = np.setdiff1d(np.arange(30), items.numpy() - 1)
        logit_V = (hidden_ND[n] @ small.reference.item_embedding_VD.T)[eligible].double().numpy()
        error_V = (state_NQ[n] @ factor_VQ.T)[eligible]
        np.testing.assert_allclose(error_V, -0.8 * stats.zscore(logit_V), atol=1e-4)


@pytest.mark.parametrize("repeats", ["never", "allowed"])
def test_optimism_is_standardised_without_what_is_never_shown(small, repeats):
    """The same for one history in training, whose action is masked, as after the whole of it."""
    mask = torch.tensor([3, 7, 20])
    corpus = replace(small.data.corpus, repeats=repeats, never_shown_M=mask)
    noise, sequences = RareOptimism(0.8), made_sequences([3], [5, 9, 7])
    field = noise.field(replace(small.data, corpus=corpus), small.reference, 0)
    batch = batch_of(sequences, torch.tensor([0]), LENGTH, rule=rule_of(corpus))
    state_NQ, factor_VQ = field(batch)
    before = made_sequences([2], [5, 9])
    state_1Q, _ = next_factors(field, before, LENGTH)
    out = [3, 7, 20, *([5, 9] if repeats == "never" else [])]
    eligible = np.setdiff1d(np.arange(30), np.array(out) - 1)
    logit_V = small.reference.last_hidden_states(before)[0] @ small.reference.item_embedding_VD.T
    expected = -0.8 * stats.zscore(logit_V[eligible].double().numpy())
    for state_Q in (state_NQ[1], state_1Q[0]):
        np.testing.assert_allclose((state_Q @ factor_VQ.T)[eligible], expected, atol=1e-4)


def test_items_of_equal_popularity_have_no_popularity_bias(small):
    train = made_corpus([60], items=[n % 30 + 1 for n in range(60)]).sequences
    batch = batch_of(train, torch.tensor([0]), LENGTH)
    field = PopularityBias(1.0).field(replace(small.data, train=train), small.reference, 0)
    assert not field(batch)[1].any()


def test_more_draws_keep_the_first_ones():
    assert torch.equal(normals(5, "x", 40, 3)[:7], normals(5, "x", 7, 3))
    assert not torch.equal(normals(5, "x", 7, 3), normals(5, "y", 7, 3))


ALL, NO_LEVELS = (*KINDS, Flips, Starvation), (-0.1, float("nan"), float("inf"))
SHARES = [(Flips, 1.1), (Starvation, 1.0), (Starvation, 1.5)]


@pytest.mark.parametrize(("kind", "level"), [*product(ALL, NO_LEVELS), *SHARES])
def test_a_level_that_means_nothing_is_refused(kind, level):
    with pytest.raises(UserError, match=rf"^{kind.__name__}: level={level} must be "):
        kind(level)
