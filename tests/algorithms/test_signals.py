"""By hand, in a world where the context of an action is the item before it.

Two sequences of lengths 3 and 1; padding holds nonsense that must not be read.
"""

import math

import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms import ASFT, signals
from recsys_posttrain.config import describe
from recsys_posttrain.errors import UserError
from recsys_posttrain.logged import Signals
from recsys_posttrain.studies.given_items import signals_read
from recsys_posttrain.types import Batch

REFERENCE_XV = doubles([0.5, 0.5], [0.25, 0.75])
SCORE_XV = doubles([2.0, 4.0], [1.0, 5.0])
OLD_XV = doubles([math.log(3), 0.0], [1e3, 0.0])
WITH_CRITIC = ASFT(baseline=signals.learned_value)
NAN = math.nan


@pytest.fixture
def actors(tabular):
    """The logged rewards have the mean 3; the reference's logits are not normalised."""
    policy_XV = doubles([3.0, 1.0], [0.0, 2.0])
    actors = tabular.actors(
        REFERENCE_XV.log() + 7, policy_XV, SCORE_XV, algorithm=WITH_CRITIC, old=OLD_XV
    )
    with torch.no_grad():
        actors.heads["value"].weight.copy_(torch.tensor([[1.0, 10.0]]))
        actors.heads["value"].bias.fill_(0.5)
    return actors


@pytest.fixture
def batch():
    return Batch(
        history_BT=torch.tensor([[1, 2, 1], [2, 2, 2]]),
        history_rewards_BT=torch.tensor([[4.0, 1.0, 4.0], [5.0, NAN, NAN]], dtype=torch.float64),
        history_times_BT=torch.zeros(2, 3, dtype=torch.int64),
        actions_BT=torch.tensor([[2, 1, 1], [2, 0, 0]]),
        rewards_BT=torch.tensor([[1.0, 4.0, 2.0], [3.0, NAN, NAN]], dtype=torch.float64),
        action_times_BT=torch.zeros(2, 3, dtype=torch.int64),
        mask_BT=torch.tensor([[True, True, True], [True, False, False]]),
        sequences_B=torch.tensor([0, 1]),
    )


LOG_EXACT = [
    math.log((math.exp(2) + math.exp(4)) / 2),
    math.log(0.25 * math.exp(1) + 0.75 * math.exp(5)),
]
POLICY_VALUE = [
    (2 * math.exp(3) + 4 * math.exp(1)) / (math.exp(3) + math.exp(1)),
    (1 + 5 * math.exp(2)) / (1 + math.exp(2)),
]
SOFT_AT_2 = [
    2 * math.log((math.exp(1) + math.exp(2)) / 2),
    2 * math.log(0.25 * math.exp(0.5) + 0.75 * math.exp(2.5)),
]


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        (signals.observed_reward, [1, 4, 2, 3]),
        # Contexts 1, 2, 1 and 2 with actions 2, 1, 1 and 2.
        (signals.model_reward, [4, 1, 2, 5]),
        # Means of (4), (4, 1), (4, 1, 4) and of (5): never of the reward at the position itself.
        (signals.user_mean, [4, 2.5, 3, 5]),
        (signals.item_mean, [1, 0.5, 0.5, 1]),
        # The log's mean 3, plus 30 (0.5 + state . (1, 10)): states are (3, 1) and (0, 2).
        (signals.learned_value, [408, 618, 408, 618]),
        # Context 1: (2 + 4) / 2 = 3. Context 2: (1 + 3 * 5) / 4 = 4.
        (signals.reference_value, [3, 4, 3, 4]),
        # Logits (3, 1) and (0, 2).
        (signals.policy_value, POLICY_VALUE * 2),
        # Context 1: (3 * 2 + 4) / 4 = 2.5. Context 2: only item 1.
        (signals.old_value, [2.5, 1, 2.5, 1]),
        (signals.no_baseline, [0, 0, 0, 0]),
        # A quarter of the observed, three quarters of the model's.
        (signals.Mix(0.25), [3.25, 1.75, 2, 4.5]),
        (signals.ReferenceSoftValue(1.0), [*LOG_EXACT, *LOG_EXACT]),
        (signals.ReferenceSoftValue(2.0), [*SOFT_AT_2, *SOFT_AT_2]),
    ],
)
def test_signal_by_hand(signal, expected, batch, actors):
    """The padded rewards are nan and never read; and a frozen configuration."""
    value_N = signal(batch, actors)
    torch.testing.assert_close(value_N.detach(), torch.tensor(expected, dtype=torch.float64))
    assert value_N.requires_grad == (signal is signals.learned_value)
    assert describe(signal)
    assert hash(signal) is not None


def test_soft_value_limits(batch, actors):
    """Hot: the plain expectation. Cold: the largest reward in the support (4 and 5)."""
    expected_N = signals.reference_value(batch, actors)
    hot_N = signals.ReferenceSoftValue(1e6)(batch, actors)
    torch.testing.assert_close(hot_N, expected_N, rtol=1e-5, atol=0)
    cold_N = signals.ReferenceSoftValue(1e-3)(batch, actors)
    largest = torch.tensor([4.0, 5, 4, 5], dtype=torch.float64)
    torch.testing.assert_close(cold_N, largest, rtol=1e-3, atol=0)


def test_the_user_mean_does_not_see_the_reward_of_its_own_action(batch, actors):
    before_N = signals.user_mean(batch, actors)
    changed = batch._replace(rewards_BT=batch.rewards_BT + 1)
    torch.testing.assert_close(signals.user_mean(changed, actors), before_N)


def test_the_learned_value_trains_its_head_and_not_the_policy(batch, actors):
    signals.learned_value(batch, actors).sum().backward()
    assert actors.heads["value"].bias.grad.item() == 4 * 30
    assert actors.policy.backbone.logits.grad is None


def test_the_reference_values_do_not_follow_the_policy(batch, actors):
    """The fixture's policy differs from its reference; both references agree with REFERENCE_XV."""
    with torch.no_grad():
        actors.policy.backbone.logits.mul_(-2)
    actors.clear_cache()
    assert signals.reference_value(batch, actors)[0].item() == pytest.approx(3)
    assert signals.ReferenceSoftValue(1.0)(batch, actors)[0].item() == pytest.approx(LOG_EXACT[0])


def with_signals(batch, actors):
    """Two, of the four real positions; over the training log the second has the mean 2."""
    names = "click", "watch"
    values = torch.tensor([[1.0, 3.0], [0.0, 5.0], [1.0, 0.0], [0.5, 2.0]])
    logged = torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    actors.log = actors.log._replace(signals=Signals(names, logged))
    return batch._replace(signals=Signals(names, values))


def test_a_signal_of_the_log(batch, actors):
    batch = with_signals(batch, actors)
    watch_N = signals.Logged("watch")(batch, actors)
    assert watch_N.tolist() == [3, 5, 0, 2]
    assert watch_N.dtype == batch.reward_N.dtype
    assert signals.Logged("click")(batch, actors).tolist() == [1, 0, 1, 0.5]
    assert signals.Logged("watch", is_mean=True)(batch, actors).tolist() == [2] * 4


def test_a_loss_reads_it(batch, actors):
    """exp((watch - 2) / temperature) times -log pi, with the policy's own log pi."""
    batch = with_signals(batch, actors)
    mean = signals.Logged("watch", is_mean=True)
    method = ASFT(reward=signals.Logged("watch"), baseline=mean, temperature=2.0, weight_cap=None)
    loss_N = method.loss(batch, actors).loss_N
    log_pi_N = actors.policy.log_prob(batch).detach()
    weight_N = torch.tensor([math.exp((w - 2) / 2) for w in (3, 5, 0, 2)], dtype=torch.float64)
    torch.testing.assert_close(loss_N.detach(), -weight_N * log_pi_N, rtol=1e-12, atol=0)
    assert list(signals_read(method)) == ["watch", "watch"]
    assert list(signals_read(ASFT())) == []
    assert describe(method)["reward"] == {"class": "Logged", "name": "watch", "is_mean": False}


def test_a_signal_that_the_log_does_not_have(batch, actors):
    with pytest.raises(UserError, match=r"no signal 'click' \(it has none\); .* --signals click"):
        signals.Logged("click")(batch, actors)
    batch = with_signals(batch, actors)
    with pytest.raises(UserError, match=r"\(it has click, watch\); did you mean 'watch'"):
        signals.Logged("watches")(batch, actors)
