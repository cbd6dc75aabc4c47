"""Exponentially reward-weighted supervised fine-tuning on observed rewards.

    loss = -w log pi(a | x),   w = e(r) / mean of e(r) over the data
    e(r) = min(exp((r - mean reward) / temperature), weight_cap)

Limits: temperature -> infinity is behaviour cloning; temperature -> 0 without a cap clones only the
items with the largest reward. Adding a constant to every reward changes nothing.
Source: Exp-RSFT, arXiv 2603.10279 (lambda there is `temperature` here) and arXiv 2608.00816.
Departures: the division by the mean weight of the training data, so that temperatures can be
compared at one learning rate; and the cap, which is that of ASFT: e(r) is ASFT's weight with the
mean logged reward as its baseline, so that the two differ in the baseline alone. Like the paper's
weight it has no per-context normaliser Z(x); ASFT with ReferenceSoftValue as its baseline has it.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import Signal, observed_reward
from recsys_posttrain.algorithms.weights import WEIGHT_CAP, capped, check_cap, weight_metrics
from recsys_posttrain.config import require_above_0
from recsys_posttrain.types import Batch, LossOutput


def log_mean_exp(exponent_E: Tensor) -> Tensor:
    """The scalar log(mean of exp(exponent)) over the data, without overflow."""
    return exponent_E.logsumexp(dim=0) - math.log(len(exponent_E))


@dataclass(frozen=True)
class ExpRSFT:
    """Exponentially reward-weighted cloning; the defaults are ours."""

    family: ClassVar[str] = "weighted likelihood"
    temperature: float = 1.0  # in stars
    reward: Signal = observed_reward  # r; both means are always those of the logged rewards
    weight_cap: float | None = WEIGHT_CAP  # None: no cap

    def __post_init__(self) -> None:
        require_above_0(self, "temperature")
        check_cap(self)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        reward_N = self.reward(batch, actors)
        exponent_E, exponent_N = (r / self.temperature for r in (actors.log.rewards_E, reward_N))
        centre = actors.log.rewards_E.mean() / self.temperature
        log_mean = log_mean_exp(capped(exponent_E, self.weight_cap, centre)).to(reward_N)
        capped_N = capped(exponent_N, self.weight_cap, centre)
        weight_N = (capped_N - log_mean).exp()
        metrics = weight_metrics(weight_N, capped_N < exponent_N)
        return LossOutput(actors.policy.weighted_nll(batch, weight_N), metrics)
