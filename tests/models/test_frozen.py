"""The cached outputs of a frozen policy and a reward model are those of the batch itself."""

import pytest
import torch
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
    lengths = torch.tensor([0, 1, 2, 9, 4, 7])
    generator = torch.Generator().manual_seed(0)
    count = int(lengths.sum())
    return Sequences(
        torch.randint(1, ITEMS + 1, (count,), generator=generator),
        torch.randint(1, 6, (count,), generator=generator).double(),
        torch.arange(count),
        torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]),
    )


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


def batches(log):
    """Two epochs of batches of two sequences each, in another order each time."""
    return list(BatchStream(log, LENGTH, batch_size=2, epochs=2, seed=3))


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


@pytest.mark.parametrize("largest", [2**28, 0])
def test_cached_outputs_are_those_of_the_batch(log, monkeypatch, largest):
    """In float64, so that only the order of addition may differ; also where states do not fit."""
    monkeypatch.setattr(positions_module, "LARGEST_CACHE", largest)
    policy, reward = FrozenPolicy(new_policy(0)), Linear()
    direct = [answers(policy, reward, batch) for batch in batches(log)]
    for model in (policy, reward):
        model.set_positions(TrainingPositions(log, LENGTH))
    for expected, batch in zip(direct, batches(log), strict=True):
        torch.testing.assert_close(answers(policy, reward, batch), expected)


def test_nothing_is_computed_twice_and_another_run_reads_the_same(log):
    policy, reward = FrozenPolicy(new_policy(0)), Linear()
    for _ in range(2):
        for model in (policy, reward):
            model.set_positions(TrainingPositions(log, LENGTH))
        for batch in batches(log):
            answers(policy, reward, batch)
        for model in (policy, reward):
            model.set_positions(None)
    passes = 1  # all four sequences fit into one batch
    assert reward.asked == 1 + passes  # the first is for its factors


def test_other_batches_are_computed_after_the_run(log):
    policy, reward = FrozenPolicy(new_policy(0)), Linear()
    other = batch_of(log, torch.tensor([3, 5]), LENGTH, skipped_B=torch.tensor([2, 0]))
    expected = answers(policy, reward, other)
    for model in (policy, reward):
        model.set_positions(TrainingPositions(log, LENGTH))
    for batch in batches(log):
        answers(policy, reward, batch)
    for model in (policy, reward):
        model.set_positions(None)
    torch.testing.assert_close(answers(policy, reward, other), expected)


def test_another_reward_model_has_another_expectation(log):
    policy, first, second = FrozenPolicy(new_policy(0)), Linear(), Linear()
    with torch.no_grad():
        second.factor *= -2
    policy.set_positions(TrainingPositions(log, LENGTH))
    batch = batches(log)[0]
    torch.testing.assert_close(
        policy.expected_reward(batch, second), -2 * policy.expected_reward(batch, first)
    )


def test_a_resampled_reward_is_asked_each_time(log):
    policy, reward = FrozenPolicy(new_policy(0)), Linear()
    reward.is_resampled = True
    for model in (policy, reward):
        model.set_positions(TrainingPositions(log, LENGTH))
    batch = batches(log)[0]
    before = policy.expected_reward(batch, reward)
    with torch.no_grad():
        reward.state *= 3
    reward.clear_cache()
    torch.testing.assert_close(policy.expected_reward(batch, reward), 3 * before)


def test_states_of_histories_are_kept(log, monkeypatch):
    """The last two sets of them; the same tensor comes back, and another set has its own."""
    policy = FrozenPolicy(new_policy(0))
    rows = [torch.tensor([3]), torch.tensor([5]), torch.tensor([4])]
    sets = [_only(log, row) for row in rows]
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


def _only(log, rows):
    start, stop = int(log.offsets_N1[rows[0]]), int(log.offsets_N1[rows[0] + 1])
    events = slice(start, stop)
    return Sequences(
        log.items_E[events],
        log.rewards_E[events],
        log.timestamps_E[events],
        torch.tensor([0, stop - start]),
    )
