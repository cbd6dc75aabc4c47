"""The policy: hidden states of real positions only, cached for a batch, exact log-probabilities."""

import copy

import pytest
import torch
from data_factory import random_sequences

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.models import HSTU, SASRec
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.types import History

ITEMS = 12


@pytest.fixture
def policy():
    config = SASRec(dim=8, blocks=2, heads=2, feed_forward=16, max_length=10, dropout=0.0)
    built = new_policy(config, ITEMS, seed=0).double()
    with torch.no_grad():  # away from the start, where all logits are almost 0
        built.backbone.item_embedding.weight[1:] *= 5
    return built


@pytest.fixture
def sequences():
    """40 sequences of 2 to 17 events: more than two blocks of rows, some longer than 10."""
    return random_sequences([2 + 7 * n % 16 for n in range(40)], ITEMS)


@pytest.fixture
def batch(sequences):
    return batch_of(sequences, torch.arange(40), max_length=10)


def padded_log_prob(policy, batch):
    """[B, T, V], computed with everything padded to one length and dense logits."""
    hidden_BTD = policy.backbone(batch.history)
    return (hidden_BTD @ policy.backbone.item_embedding.weight[1:].T).log_softmax(dim=-1)


def test_values_and_gradients_are_those_of_the_padded_computation(policy, batch):
    other = copy.deepcopy(policy)
    found_N = policy.log_prob(batch)
    dense_NV = padded_log_prob(other, batch)[batch.mask_BT]
    dense_N = dense_NV.gather(1, batch.actions_BT[batch.mask_BT][:, None] - 1).squeeze(1)
    torch.testing.assert_close(found_N, dense_N)
    assert not batch.mask_BT.all()

    weight_N = torch.linspace(-1, 2, len(found_N)).double()
    (found_N * weight_N).sum().backward()
    (dense_N * weight_N).sum().backward()
    for (name, mine), (_, theirs) in zip(
        policy.named_parameters(), other.named_parameters(), strict=True
    ):
        if theirs.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, msg=name)
    assert policy.backbone.item_embedding.weight.grad[1:].abs().sum() > 0


def test_candidates(policy, batch):
    generator = torch.Generator().manual_seed(2)
    items_NK = torch.randint(1, ITEMS + 1, (len(batch.action_N), 3), generator=generator)
    expected_NK = padded_log_prob(policy, batch)[batch.mask_BT].gather(1, items_NK - 1)
    torch.testing.assert_close(policy.log_prob(batch, items_NK), expected_NK)


def test_logits_of_candidates_are_log_probabilities_up_to_a_constant(policy, batch):
    """With the gradient of both ends of the product."""
    items_NK = torch.arange(1, ITEMS + 1).expand(len(batch.action_N), -1)
    logit_NK = policy.logits(batch, items_NK)
    torch.testing.assert_close(logit_NK.log_softmax(dim=1), policy.log_prob(batch, items_NK))
    hidden_ND, table_VD = policy.hidden_states(batch), policy.item_embedding_VD
    torch.testing.assert_close(logit_NK, hidden_ND @ table_VD.T)
    logit_NK[0, 2].backward()
    found = policy.backbone.item_embedding.weight.grad[3]
    assert found.abs().sum() > 0


def test_samples_are_items_with_their_log_probabilities(policy, batch):
    items_NK, log_prob_NK = policy.sample(batch, 4, torch.Generator().manual_seed(3))
    assert items_NK.shape == (len(batch.action_N), 4)
    assert (int(items_NK.min()), int(items_NK.max())) == (1, ITEMS)
    expected_NK = padded_log_prob(policy, batch)[batch.mask_BT].gather(1, items_NK - 1)
    torch.testing.assert_close(log_prob_NK, expected_NK)


def test_states_are_computed_once_per_batch(policy, batch, sequences):
    first = policy.hidden_states(batch)
    assert policy.hidden_states(batch) is first
    other = batch_of(sequences, torch.arange(40), max_length=10)
    assert policy.hidden_states(other) is not first, "an equal batch is not the same batch"
    again = policy.hidden_states(batch)
    policy.clear_cache()
    with torch.no_grad():
        policy.backbone.output_norm.weight.mul_(2)
    assert not torch.equal(policy.hidden_states(batch), again), (
        "forgotten with the weights it came from"
    )


def test_a_state_without_a_graph_never_serves_who_needs_the_gradient(policy, batch):
    with torch.no_grad():
        measured = policy.hidden_states(batch)
        assert not measured.requires_grad
    trained = policy.hidden_states(batch)
    assert trained.requires_grad
    torch.testing.assert_close(trained.detach(), measured)
    with torch.no_grad():
        policy.log_prob(batch)
    policy.log_prob(batch).sum().backward()
    assert policy.backbone.item_embedding.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("rows", [3, 256])
def test_last_states_are_those_after_the_latest_events(policy, sequences, rows):
    hidden_ND = policy.last_hidden_states(sequences, rows=rows)
    for n in range(len(sequences)):
        events = slice(*sequences.offsets_N1[n : n + 2].tolist())
        latest = sequences.items_E[events][-10:][None]
        rewards = sequences.rewards_E[events][-10:][None].double()
        times = torch.zeros_like(latest)
        expected_D = policy.backbone(History(latest, rewards, times, times))[0, -1].detach()
        torch.testing.assert_close(hidden_ND[n], expected_D)


def test_the_times_of_next_actions_reach_the_last_states(sequences):
    """Given, or for none given that of the last event; one of three days, one of no time at all."""
    config = HSTU(dim=8, blocks=2, max_length=10, target_time=True)
    policy = new_policy(config, ITEMS, seed=0).double().eval()
    last_N = sequences.timestamps_E[sequences.offsets_N1[1:] - 1]
    given_N = last_N + 86_400 * (torch.arange(40) % 3)
    for next_times_N, expected_N in ((given_N, given_N), (None, last_N)):
        hidden_ND = policy.last_hidden_states(sequences, next_times_N)
        for n in range(40):
            events = slice(*sequences.offsets_N1[n : n + 2].tolist())
            items, times = sequences.items_E[events][-10:], sequences.timestamps_E[events][-10:]
            next_times = torch.cat([times[1:], expected_N[n : n + 1]])
            rewards = torch.zeros(1, len(items), dtype=torch.float64)
            history = History(items[None], rewards, times[None], next_times[None])
            torch.testing.assert_close(hidden_ND[n], policy.backbone(history)[0, -1].detach())
    assert not torch.allclose(
        policy.last_hidden_states(sequences), policy.last_hidden_states(sequences, given_N)
    )
