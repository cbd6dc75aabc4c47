"""Signals: rewards and baselines of the logged actions, one finite number in stars per position.

A Signal is f(batch, actors) -> [N], without a gradient. The exception is learned_value, whose
gradient reaches its own head only. Every public function of this module is a signal, so that
`--set algorithm.baseline=user_mean` can name any of them; a signal with a parameter is a frozen
dataclass. The columns that a log has beside its rewards are `logged.Signals`; `Logged("click")`
reads one of them as a Signal.

(x, a) is the context and the action, r the logged reward, r_hat the reward model's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.config import require, require_above_0
from recsys_posttrain.logged import Signals
from recsys_posttrain.ops.logsumexp import linear_logsumexp
from recsys_posttrain.types import Batch

VALUE_RATE = 30.0  # of the learned V, in learning rates of the policy

Signal = Callable[[Batch, Actors], Tensor]


def observed_reward(batch: Batch, actors: Actors) -> Tensor:
    """The logged reward r(x, a)."""
    return batch.reward_N


@torch.no_grad()
def model_reward(batch: Batch, actors: Actors) -> Tensor:
    """The reward model's prediction r_hat(x, a) for the logged action."""
    return actors.reward.score(batch, batch.action_N[:, None]).squeeze(1)


def user_mean(batch: Batch, actors: Actors) -> Tensor:
    """Mean logged reward of the events in the window strictly before the action (at least one)."""
    return batch.real(batch.history_rewards_BT.cumsum(dim=1)) / (batch.position_N + 1)


def item_mean(batch: Batch, actors: Actors) -> Tensor:
    """Mean logged reward of the action's item over all training events, this one included."""
    return actors.log.item_mean_V.to(batch.reward_N)[batch.action_N - 1]


def learned_value(batch: Batch, actors: Actors) -> Tensor:
    """V(x), by the head `value` of the algorithm, trained along with the policy.

    The head learns the difference to the mean logged reward. An untrained head, which outputs 0,
    is then the constant baseline, not a baseline far below every reward. Adam moves every weight by
    about the learning rate, whatever the scale of the loss, and at the policy's rate V would stay
    constant for all of post-training; so its output counts VALUE_RATE times.
    """
    mean = actors.log.rewards_E.mean().to(batch.reward_N)
    return mean + VALUE_RATE * actors.head("value", batch, trains_policy=False).squeeze(1)


def reference_value(batch: Batch, actors: Actors) -> Tensor:
    """The expected reward of the reference, E_{a ~ pi_ref}[r_hat(x, a)], over the catalogue."""
    return actors.reference_value(batch)


def old_value(batch: Batch, actors: Actors) -> Tensor:
    """The expected reward of pi_old, E_{a ~ pi_old}[r_hat(x, a)], over the catalogue.

    Where nothing renews pi_old it is the reference, and reference_value is cheaper.
    """
    return actors.old_value(batch)


@torch.no_grad()
def policy_value(batch: Batch, actors: Actors) -> Tensor:
    """The expected reward of the policy as it is now, E_{a ~ pi}[r_hat(x, a)], of the catalogue."""
    return actors.policy.expected_reward(batch, actors.reward)


def no_baseline(batch: Batch, actors: Actors) -> Tensor:
    """No baseline: 0 everywhere."""
    return torch.zeros_like(batch.reward_N)


@dataclass(frozen=True)
class Logged:
    """A signal that the log has beside its rewards (`--signals NAME`), in stars of its own scale.

    is_mean: give its mean over the training log, to use as its baseline; the other baselines here
        are of the reward.
    """

    name: str = ""
    is_mean: bool = False

    def __call__(self, batch: Batch, actors: Actors) -> Tensor:
        found = batch.signals or Signals((), batch.reward_N)
        value_N = found.of(self.name).to(batch.reward_N)
        if not self.is_mean:
            return value_N
        assert actors.log.signals is not None
        return torch.full_like(value_N, float(actors.log.signals.of(self.name).mean()))


@dataclass(frozen=True)
class Mix:
    """The weighted mean share * observed_reward + (1 - share) * model_reward."""

    share: float = 0.5

    def __post_init__(self) -> None:
        require(0 <= self.share <= 1, f"Mix: share={self.share} must be from 0 to 1.")

    def __call__(self, batch: Batch, actors: Actors) -> Tensor:
        observed_N, model_N = observed_reward(batch, actors), model_reward(batch, actors)
        return self.share * observed_N + (1 - self.share) * model_N


@dataclass(frozen=True)
class ReferenceSoftValue:
    """The soft value temperature * log E_{a ~ pi_ref}[exp(r_hat(x, a) / temperature)].

    As the baseline b of exp((r_hat - b) / temperature) it divides by the per-context normaliser
    Z(x), which plain reward-weighted fine-tuning drops. Limits: temperature -> infinity is
    reference_value, temperature -> 0 the largest reward in the support of pi_ref.

    temperature: in stars.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_above_0(self, "temperature")

    @torch.no_grad()
    def __call__(self, batch: Batch, actors: Actors) -> Tensor:
        # log pi_ref + r_hat / temperature is itself a product of a state and a table (up to the
        # normaliser of pi_ref), so that nothing of size [positions, catalogue] is needed.
        state_NR, factor_VR = actors.reward.place_factors(batch)
        hidden_NE, vectors_ME, excluded, _ = actors.reference.softmax(batch)
        tilted_N = linear_logsumexp(
            torch.cat([hidden_NE, state_NR / self.temperature], dim=1),
            torch.cat([vectors_ME, factor_VR], dim=1),
            excluded=excluded,
        )
        plain_N = linear_logsumexp(hidden_NE, vectors_ME, excluded=excluded)
        return self.temperature * (tilted_N - plain_N)
