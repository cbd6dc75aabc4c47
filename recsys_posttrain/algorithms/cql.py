"""Conservative Q-learning: predict the logged reward, and hold down what was not logged.

    loss = alpha tau (logsumexp_v Q(x, v) / tau - Q(x, a) / tau) + (Q(x, a) - r)^2
    Q(x, v) = tau z_v + b(x),   z_v: the logit of item v,   b: a learned head

The policy *is* softmax(Q / tau), since b cancels in it, so the first term is -alpha tau log pi(a).
Limits: alpha -> infinity is behaviour cloning; alpha = 0 regresses the rewards of logged items and
says nothing about others. tau -> 0: the gradient over alpha tau is that of
-log pi(a) - (2 / alpha) (r - b) z_a, a cloning that is stronger where the reward is above b.
Source: CQL(H), arXiv 2006.04779, equation 4, in which Q is learned by temporal differences; CQL is
a row of the comparison of the Netflix Technology Blog (October 2025, see asft.py).
Departures: one-step (contextual bandit), so the target is the reward; the logsumexp is at the
temperature tau at which the policy acts (the paper's is 1); without b the first steps would only
move the level of the logits to that of the rewards. alpha and tau are ours.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import Signal, observed_reward
from recsys_posttrain.algorithms.weights import learned_bias, means, scalar_head, value_error
from recsys_posttrain.config import require_above_0, require_at_least
from recsys_posttrain.types import Batch, LossOutput


def q_value(logit: Tensor, bias: Tensor, temperature: float) -> Tensor:
    """Q = temperature logit + bias, element by element."""
    return temperature * logit + bias


@dataclass(frozen=True)
class CQL:
    """Conservative Q-learning with the policy's logits for Q; the defaults are ours."""

    family: ClassVar[str] = "value based"
    alpha: float = 1.0  # weight of the conservative term
    temperature: float = 1.0  # tau, in stars per unit of a logit
    reward: Signal = observed_reward  # r

    def __post_init__(self) -> None:
        require_at_least(self, 0, "alpha")
        require_above_0(self, "temperature")

    def heads(self, dim: int, num_items: int) -> dict[str, nn.Module]:
        return {"bias": scalar_head(dim)}

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        reward_N = self.reward(batch, actors)
        weight_N = torch.full_like(batch.reward_N, self.alpha * self.temperature)
        conservative_N = actors.policy.weighted_nll(batch, weight_N)
        logit_N = actors.policy.logits(batch, batch.action_N[:, None]).squeeze(1)
        # From the mean reward, as `learned_value` does.
        bias_N = actors.log.rewards_E.mean() + learned_bias(batch, actors)
        q_N = q_value(logit_N, bias_N, self.temperature)
        error_N = value_error(q_N, reward_N)
        metrics = {"q/logged": q_N, "q/error": error_N, "q/conservative": conservative_N}
        return LossOutput(conservative_N + error_N, means(metrics))
