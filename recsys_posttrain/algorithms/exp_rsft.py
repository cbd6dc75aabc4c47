"""Exponentially reward-weighted supervised fine-tuning on observed rewards.

    loss = -w log pi(a | x),   w = exp(r / temperature) / mean of exp(r / temperature) over the data

Limits: temperature -> infinity is behaviour cloning; temperature -> 0 clones only the items with
the largest reward. Adding a constant to every reward changes nothing.
Source: Exp-RSFT, arXiv 2603.10279 (lambda there is `temperature` here) and arXiv 2608.00816.
Departures: the division by the mean weight of the training data, so that temperatures can be
compared at one learning rate. Like the paper's weight it has no per-context normaliser Z(x); ASFT
with ReferenceSoftValue as its baseline restores that.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import Signal, observed_reward
from recsys_posttrain.algorithms.weights import weight_metrics
from recsys_posttrain.config import require_above_0
from recsys_posttrain.types import Batch, LossOutput


def log_mean_weight(reward_E: Tensor, temperature: float) -> Tensor:
    """The scalar log(mean of exp(reward / temperature)) over the data, without overflow."""
    return (reward_E / temperature).logsumexp(dim=0) - math.log(len(reward_E))


def exponential_weight(reward: Tensor, temperature: float, log_mean: Tensor) -> Tensor:
    """The weight exp(reward / temperature - log_mean), element by element."""
    return (reward / temperature - log_mean).exp()


@dataclass(frozen=True)
class ExpRSFT:
    """Exponentially reward-weighted cloning; the defaults are ours."""

    temperature: float = 1.0  # in stars
    reward: Signal = observed_reward  # r; the mean weight is always that of the logged rewards

    def __post_init__(self) -> None:
        require_above_0(self, "temperature")

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        reward_N = self.reward(batch, actors)
        log_mean = log_mean_weight(actors.log.rewards_E, self.temperature).to(reward_N)
        weight_N = exponential_weight(reward_N, self.temperature, log_mean)
        return LossOutput(actors.policy.weighted_nll(batch, weight_N), weight_metrics(weight_N))
