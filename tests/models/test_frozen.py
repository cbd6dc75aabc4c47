"""The cached outputs of a frozen policy and a reward model are those of the batch itself."""

from dataclasses import replace

import pytest
import torch
from data_factory import random_sequences
from torch import nn

from recsys_posttrain.data import positions as positions_module
from recsys_posttrain.data.batching import BatchStream, batch_of
from recsys_posttrain.data.positions import TrainingPositions
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Sequences

ITEMS, LENGTH = 11, 6


@pytest.fixture
def log():
    """Lengths 0, 1, 2, 9, 4, 7: two have no position, two are longer than a window."""
    sequences = random_sequences([0, 1, 2, 9, 4, 7], ITEMS)
    return replace(sequences, rewards_E=sequences.rewards_E.double())


def new_policy(seed):
    torch.manual_seed(seed)
    return Policy(SASRec(dim=8, blocks=1, feed_forward=8, max_length=LENGTH).build(ITEMS)).double()


class Linear(RewardModel):
    """Two members that read the item before and its reward."""

    max_length = LENGTH

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.state, self.factor = (
            nn.Parameter(torch.randn(2, ITEMS, 3, generator=generator).double()) for _ in range(2)
        )
        self.asked = 0

    def member_factors(self, batch):
        self.asked += 1
        item_N = batch.real(batch.history_BT) - 1
        reward_N = batch.real(batch.history_rewards_BT)
        return self.state[:, item_N] * reward_N[:, None], self.factor


def only(log, row):
    """One user's events."""
    events = slice(*log.offsets_N1[row : row + 2].tolist())
    fields = (each[events] for each in (log.items_E, log.rewards_E, log.timestamps_E))
    return Sequences(*fields, torch.tensor([0, events.stop - events.start]))


def batches(log):
    """Two epochs of batches of two sequences each, in another order each time."""
    return list(BatchStream(log, LENGTH, batch_size=2, epochs=2, seed=3))


def start(log, *models):
    for model in models:
        model.set_positions(TrainingPositions(log, LENGTH))


def run_through(log, policy, reward):
    """All batches of a run, and its end."""
    start(log, policy, reward)
    for batch in batches(log):
        answers(policy, reward, batch)
    for model in (policy, reward):
        model.set_positions(None)


def answers(policy, reward, batch):
    """Everything that a loss may ask of the two."""
    policy.clear_cache()
    reward.clear_cache()
    return {
        "states": policy.hidden_states(batch),
        "log_prob": policy.log_prob(batch),
        "expected": policy.expected_reward(batch, reward),
        "factors": torch.stack([each.sum() for each in reward.factors(batch)]),
        "scores": reward.member_scores(batch, batch.action_N[:, None]),
    }


@pytest.mark.parametrize(("largest", "share"), [(2**28, 0.25), (0, 0.25), (0, 0.0)])
def test_cached_outputs_are_those_of_the_batch(log, monkeypatch, largest, share):
    """In float64, so that only the order of addition may differ; also from a file, and where states
    are kept nowhere."""
    monkeypatch.setattr(positions_module, "LARGEST_CACHE", largest)
    monkeypatch.setattr(positions_module, "SHARE_OF_DISK", share)
    policy, reward = FrozenPolicy(new_policy(0)), Linear()
    direct = [answers(policy, reward, batch) for batch in batches(log)]
    start(log, policy, reward)
    for expected, batch in zip(direct, batches(log), strict=True):
        torch.testing.assert_close(answers(policy, reward, batch), expected)


def test_nothing_is_computed_twice_and_another_run_reads_the_same(log):
    policy, reward = FrozenPolicy(new_policy(0)), Linear()
    for _ in range(2):
        run_through(log, policy, reward)
    assert reward.asked == 2  # once for its factors, once for all four sequences in one batch


def test_other_batches_are_computed_after_the_run(log):
    policy, reward = FrozenPolicy(new_policy(0)), Linear()
    other = batch_of(log, torch.tensor([3, 5]), LENGTH, skipped_B=torch.tensor([2, 0]))
    expected = answers(policy, reward, other)
    run_through(log, policy, reward)
    torch.testing.assert_close(answers(policy, reward, other), expected)


def test_another_reward_model_has_another_expectation(log):
    policy, first, second = FrozenPolicy(new_policy(0)), Linear(), Linear()
    with torch.no_grad():
        second.factor *= -2
    start(log, policy)
    batch = batches(log)[0]
    twice = policy.expected_reward(batch, second)
    torch.testing.assert_close(twice, -2 * policy.expected_reward(batch, first))


def test_a_resampled_reward_is_asked_each_time(log):
    policy, reward = FrozenPolicy(new_policy(0)), Linear()
    reward.is_resampled = True
    start(log, policy, reward)
    batch = batches(log)[0]
    before = policy.expected_reward(batch, reward)
    with torch.no_grad():
        reward.state *= 3
    reward.clear_cache()
    torch.testing.assert_close(policy.expected_reward(batch, reward), 3 * before)


def test_states_of_histories_are_kept(log, monkeypatch):
    """The last two sets of them; the same tensor comes back, and another set has its own."""
    policy = FrozenPolicy(new_policy(0))
    sets = [only(log, row) for row in (3, 5, 4)]
    first, second = (policy.last_hidden_states(each) for each in sets[:2])
    assert policy.last_hidden_states(sets[0]) is first
    third = policy.last_hidden_states(sets[2])
    assert policy.last_hidden_states(sets[1]) is second
    assert policy.last_hidden_states(sets[0]) is not first
    plain = new_policy(0).eval()
    for states, each in zip((first, second, third), sets, strict=True):
        torch.testing.assert_close(states, plain.last_hidden_states(each))


def test_it_has_no_gradient_and_no_dropout(log):
    policy = new_policy(0).train()
    frozen = FrozenPolicy(policy).train()
    assert frozen.backbone is policy.backbone
    assert not frozen.training
    batch = batches(log)[0]
    assert not frozen.hidden_states(batch).requires_grad
    assert not frozen.log_prob(batch).requires_grad
