"""A sample in place of a large catalogue: unbiased sums, and what may not count does not."""

import itertools

import numpy as np
import pytest
import torch

from recsys_posttrain.algorithms.bc import BC
from recsys_posttrain.eligibility import Excluded, leave_out
from recsys_posttrain.losses.negatives import Negatives, draw
from recsys_posttrain.ops.logsumexp import graph_logsumexp
from recsys_posttrain.training.catalogue import EVEN, proposal_of, sample_of, with_sample
from recsys_posttrain.training.drift import drift
from recsys_posttrain.windows import Windows

ITEMS, LENGTHS, ACTIONS = 6, (3, 2), [3, 2, 5, 1, 4]
SHARE = np.array([1, 4, 2, 2, 1, 2]) / 12  # the proposal, in twelfths
STRATA, CELLS = 3, 4  # three draws, each evenly from four twelfths
SEEN = [[], [1, 1], [1, 2, 3, 4], [3, 6], [2]]  # what is not eligible at the five positions


@pytest.fixture
def world(small):
    """Three draws' worth of batch and policies in float64, with what users had before."""
    ends_N1 = torch.tensor([0, *map(len, SEEN)]).cumsum(dim=0)
    excluded = Excluded(torch.tensor([item for seen in SEEN for item in seen]), ends_N1)
    batch = small.batch(LENGTHS, ITEMS)
    actions_BT = torch.zeros_like(batch.actions_BT)
    actions_BT[batch.mask_BT] = torch.tensor(ACTIONS)
    batch = batch._replace(excluded=excluded, actions_BT=actions_BT)
    return batch, small.actors(BC(), ITEMS, scale=3.0)


def probabilities(policy, batch):
    """exp(logit) of every item at each position, in float64, 0 where it is not eligible."""
    with torch.no_grad():
        logits_NV = policy.hidden_states(batch) @ policy.item_embedding_VD.T
    weight_NV = logits_NV.double().exp()
    return leave_out(weight_NV, batch.excluded, 0.0).numpy()


def outcomes():
    """All equally likely draws of three stratified items from SHARE."""
    edge_V = SHARE.cumsum()
    for cells in itertools.product(range(CELLS), repeat=STRATA):
        points = [(k * CELLS + cell + 0.5) / 12 for k, cell in enumerate(cells)]
        items_K = np.searchsorted(edge_V, points, side="right")
        yield Negatives(torch.tensor(items_K + 1), torch.tensor(STRATA * SHARE[items_K]))


def test_the_draws_are_those_that_are_enumerated():
    share_V, generator = torch.tensor(SHARE), torch.Generator().manual_seed(0)
    found = {tuple(draw(share_V, STRATA, generator).items_K.tolist()) for _ in range(2_000)}
    assert found == {tuple(each.items_K.tolist()) for each in outcomes()}


def test_sums_are_unbiased_over_all_draws(world):
    """The mean of the estimated normaliser, and of sums of rewards and of any function, is exact
    at each position: repeated items, own items and items that are not eligible included."""
    batch, actors = world
    weight_NV = probabilities(actors.policy, batch)
    reward_V = np.linspace(-1, 2, ITEMS) ** 3
    totals, rewards = [], []
    for drawn in outcomes():
        sampled = batch._replace(catalogue_sample=sample_of(batch, drawn, ITEMS))
        hidden_NE, vectors_ME, excluded, _ = actors.policy.softmax(sampled)
        logits_NM = (hidden_NE @ vectors_ME.T).detach().double()
        each_NM = leave_out(logits_NM.exp(), excluded, 0.0).numpy()
        totals.append(each_NM.sum(axis=1))
        rewards.append(each_NM @ reward_V[sampled.catalogue_sample.items_M - 1])
        log_total_N = actors.policy.log_normaliser(sampled)
        np.testing.assert_allclose(log_total_N.exp(), totals[-1], rtol=1e-5)
    np.testing.assert_allclose(np.mean(totals, axis=0), weight_NV.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(np.mean(rewards, axis=0), weight_NV @ reward_V, rtol=1e-4)
    assert np.std(totals, axis=0).min() > 0.01  # they do vary


def test_the_logged_item_is_certain_and_others_only_where_they_were_drawn(world):
    """At every position, by item, the sum of the weights of its places against a count by hand."""
    batch, _ = world
    for drawn in outcomes():
        sample = sample_of(batch, drawn, ITEMS)
        places = len(sample.items_M)
        weight_NM = sample.log_weight_M.exp().expand(len(ACTIONS), places).clone()
        leave_out(weight_NM, sample.excluded, 0.0)
        for n, (action, seen) in enumerate(zip(ACTIONS, SEEN, strict=True)):
            expected = dict.fromkeys(range(1, ITEMS + 1), 0.0)
            for item, times in zip(*drawn, strict=True):
                if int(item) not in seen and int(item) != action:
                    expected[int(item)] += 1 / float(times)
            expected[action] = 1.0
            found = torch.zeros(ITEMS + 1).index_add_(0, sample.items_M, weight_NM[n])
            np.testing.assert_allclose(found[1:], list(expected.values()), rtol=1e-6)
        assert torch.equal(sample.items_M[sample.action_N - 1], batch.action_N)


def test_masks_and_windows_hold_for_the_places(world):
    """An item that is never shown, one outside its window, and the logged item in spite of both."""
    batch, _ = world
    windows = Windows(torch.tensor([5, 6]), torch.tensor([[0, 50]]), torch.tensor([[10, 60]]))
    times_N = torch.tensor([5, 55, 55, 5, 55])
    masked = Excluded(batch.excluded.items_E, batch.excluded.offsets_N1, torch.tensor([2]))
    masked = masked._replace(but_N=batch.action_N, windows=windows, times_N=times_N)
    batch = batch._replace(excluded=masked)
    drawn = Negatives(torch.arange(1, ITEMS + 1), torch.ones(ITEMS))
    sample = sample_of(batch, drawn, ITEMS)
    weight_NM = leave_out(torch.ones(len(ACTIONS), len(sample.items_M)), sample.excluded, 0.0)
    found_NV = torch.zeros(len(ACTIONS), ITEMS + 1).index_add_(1, sample.items_M, weight_NM)
    assert torch.equal(found_NV[:, 1:], leave_out(torch.ones(len(ACTIONS), ITEMS), masked, 0.0))
    without = sample_of(batch._replace(excluded=None), drawn, ITEMS).excluded
    assert leave_out(torch.ones(len(ACTIONS), len(sample.items_M)), without, 0.0).sum() == 5 * ITEMS


def test_draws_of_a_policy_carry_its_log_probability(world):
    """log pi of a draw is logit less the estimated normaliser, as for an item that is given."""
    batch, actors = world
    generator = torch.Generator().manual_seed(1)
    sampled = with_sample(batch, torch.tensor(SHARE), 4, generator)
    items_NK, log_prob_NK = actors.policy.sample(sampled, 400, generator)
    with torch.no_grad():
        given_NK = actors.policy.log_prob(sampled, items_NK)
        expected_N = actors.policy.expected_reward(sampled, actors.reward)
        *both, mean_N = actors.policy.sample_with_value(sampled, 2, generator, actors.reward)
    np.testing.assert_allclose(log_prob_NK, given_NK, atol=2e-5)
    np.testing.assert_allclose(
        both[1], actors.policy.log_prob(sampled, both[0]).detach(), atol=2e-5
    )
    np.testing.assert_allclose(mean_N, expected_N, atol=2e-5)
    # Their mean reward is the expectation, within five standard errors of 400 draws.
    reward_NK = actors.reward.score(sampled, items_NK)
    error_N = (reward_NK.mean(dim=1) - expected_N).abs() / reward_NK.std(dim=1).clamp(min=1e-6)
    assert (error_N < 5 / 20).all()
    for items_K, seen in zip(items_NK, SEEN, strict=True):
        assert not set(items_K.tolist()) & set(seen)


def test_the_gradient_of_log_pi_is_that_of_the_estimate(world):
    """Against autograd on the same sum written out, in a policy's weights."""
    batch, actors = world
    sampled = with_sample(batch, torch.tensor(SHARE), 3, torch.Generator().manual_seed(3))
    items_N2 = torch.tensor([[3, 1], [2, 6], [5, 5], [1, 2], [4, 4]])
    coefficient_N2 = torch.linspace(-1, 2, 10).view(5, 2)

    def gradient(log_prob_N2):
        actors.zero_grad()
        actors.clear_cache()
        (coefficient_N2 * log_prob_N2()).sum().backward()
        return [each.grad.clone() for each in actors.policy.parameters()]

    def by_hand():
        hidden_ND, table_VD = actors.policy.hidden_states(sampled), actors.policy.item_embedding_VD
        sample = sampled.catalogue_sample
        logits_NM = hidden_ND @ table_VD[sample.items_M - 1].T + sample.log_weight_M
        total_N1 = leave_out(logits_NM, sample.excluded).logsumexp(dim=1, keepdim=True)
        return (hidden_ND[:, None] * table_VD[items_N2 - 1]).sum(dim=2) - total_N1

    ours = gradient(lambda: actors.policy.log_prob(sampled, items_N2))
    for mine, theirs in zip(ours, gradient(by_hand), strict=True):
        assert not mine.is_sparse
        np.testing.assert_allclose(mine, theirs, atol=1e-5 * float(theirs.abs().max() + 1e-3))


def test_log_weights_survive_a_product_in_bfloat16(world):
    """All items of the even part of a proposal have one weight, so that its rounding to eight bits
    would not average out; the sum of the two columns, each rounded, is right to .0001."""
    batch, actors = world
    share_V = torch.tensor(SHARE) ** 3 / (SHARE**3).sum()
    sampled = with_sample(batch, share_V, 3, torch.Generator().manual_seed(0))
    vectors_ME = actors.policy.softmax(sampled).vectors_ME.detach()
    log_M = vectors_ME[:, -2:].bfloat16().float().sum(dim=1)
    np.testing.assert_allclose(log_M, sampled.catalogue_sample.log_weight_M, atol=1e-4)
    assert (vectors_ME[:, -2:].sum(dim=1).bfloat16() - log_M).abs().max() > 1e-3


def test_the_normaliser_with_a_graph_is_logsumexp():
    generator = torch.Generator().manual_seed(0)
    hidden_ND, table_VD = (
        torch.randn(rows, 4, generator=generator, dtype=torch.float64, requires_grad=True)
        for rows in (5, 7)
    )
    weight_N = torch.linspace(-1, 1, 5, dtype=torch.float64)
    excluded = Excluded(torch.tensor([2, 3]), torch.tensor([0, 1, 1, 2, 2, 2]))
    found_N = graph_logsumexp(hidden_ND, table_VD, chunk=2, excluded=excluded)
    mine = torch.autograd.grad((weight_N * found_N).sum(), [hidden_ND, table_VD])
    dense_N = leave_out(hidden_ND @ table_VD.T, excluded).logsumexp(dim=1)
    theirs = torch.autograd.grad((weight_N * dense_N).sum(), [hidden_ND, table_VD])
    torch.testing.assert_close(found_N, dense_N)
    torch.testing.assert_close(mine, theirs)


def test_the_proposal_is_the_root_mean_square_of_the_reference(world, small):
    """By hand; and no other of three proposals has less variance under the reference."""
    batch, actors = world
    other = small.batch((4, 1), ITEMS, seed=5)
    weights = [probabilities(actors.reference, each) for each in (batch, other)]
    share_NV = np.concatenate([each / each.sum(axis=1, keepdims=True) for each in weights])
    root_V = np.sqrt((share_NV**2).mean(axis=0))
    best_V = root_V / root_V.sum()
    found_V = proposal_of(actors.reference, [batch, other])
    np.testing.assert_allclose(found_V, (1 - EVEN) * best_V + EVEN / ITEMS, rtol=1e-5)

    def variance(q_V):
        return (share_NV**2 / q_V).sum(axis=1).mean()

    rivals = [np.full(ITEMS, 1 / ITEMS), share_NV.mean(axis=0), SHARE]
    assert all(variance(best_V) < variance(each) - 1e-3 for each in rivals)
    assert variance(found_V.numpy()) <= variance(best_V) / (1 - EVEN)


def test_the_proposal_where_float32_overflows(small):
    """Logits of hundreds: one item is certain at each position, and none that is not eligible."""
    batch, actors = small.batch(LENGTHS, ITEMS), small.actors(BC(), ITEMS, scale=3e3)
    with torch.no_grad():
        logits_NV = actors.reference.hidden_states(batch) @ actors.reference.item_embedding_VD.T
    assert logits_NV.abs().max() > 200
    share_NV = leave_out(logits_NV.double(), batch.excluded).softmax(dim=1)
    root_V = share_NV.square().mean(dim=0).sqrt()
    expected_V = (1 - EVEN) * root_V / root_V.sum() + EVEN / ITEMS
    torch.testing.assert_close(
        proposal_of(actors.reference, [batch]), expected_V, rtol=1e-3, atol=1e-5
    )
    alone = batch._replace(excluded=None)
    assert not torch.equal(proposal_of(actors.reference, [alone]), expected_V)


def test_what_is_logged_of_a_sample_of_everything_is_exact(world):
    """Every item once, each with weight 1: KL, entropy and expected reward are those without."""
    batch, actors = world
    drawn = Negatives(torch.arange(1, ITEMS + 1), torch.ones(ITEMS))
    sampled = batch._replace(catalogue_sample=sample_of(batch, drawn, ITEMS))
    exact, found = drift(batch, actors), drift(sampled, actors)
    assert found.keys() == exact.keys()
    for name in exact:
        np.testing.assert_allclose(found[name], exact[name], rtol=1e-5, atol=1e-6)
    # With other weights the entropy is estimated as -E[log pi], not that of the places.
    sampled = with_sample(batch, torch.tensor(SHARE), 3, torch.Generator().manual_seed(0))
    hidden_NE, vectors_ME, excluded, _ = actors.policy.softmax(sampled)
    logits_NM = leave_out((hidden_NE @ vectors_ME.T).detach(), excluded)
    log_pi_NM = logits_NM - logits_NM.logsumexp(dim=1, keepdim=True)
    density_NM = log_pi_NM - sampled.catalogue_sample.log_weight_M
    mean_N = -torch.where(log_pi_NM.isfinite(), log_pi_NM.exp() * density_NM, 0).sum(dim=1)
    np.testing.assert_allclose(drift(sampled, actors)["entropy"], mean_N.mean(), rtol=1e-4)


def test_a_batch_with_a_sample_moves_as_a_whole(world):
    batch, _ = world
    sampled = with_sample(batch, torch.tensor(SHARE), 3, torch.Generator().manual_seed(0))
    there = sampled.to(torch.device("meta")).catalogue_sample
    tensors = [there.items_M, there.log_weight_M, there.excluded.items_E, there.excluded.but_N]
    assert all(each.device.type == "meta" for each in tensors)
