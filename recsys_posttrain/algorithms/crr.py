"""Critic-regularised regression: clone the logged items that beat what the policy would choose.

    loss = -w log pi(a | x),   w = [A > 0]   or   min(exp(A / temperature), weight_cap)
    A = Q(x, a) - V(x),   V(x) = E_{a' ~ pi}[Q(x, a')]

V is that of the policy as it is now, so fewer items pass as it gets better. No gradient flows
through w.
Limits: temperature -> infinity is behaviour cloning; where Q and V are the same everywhere, [A > 0]
clones nothing.
Source: CRR, arXiv 2006.15134, equations 3 and 4 (`binary`, and `exp` with its cap of 20).
Departures: one-step (contextual bandit), so the critic Q is the reward model, which learns nothing
while the policy is trained; V is the exact sum over eligible items, not the mean of four samples.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import Signal, model_reward, policy_value
from recsys_posttrain.algorithms.weights import (
    WEIGHT_CAP,
    check_cap,
    exponential_weight,
    weight_metrics,
)
from recsys_posttrain.config import require_above_0
from recsys_posttrain.types import Batch, LossOutput


@dataclass(frozen=True)
class CRR:
    """Critic-regularised regression; by default the binary filter, which has no strength."""

    family: ClassVar[str] = "value based"
    temperature: float | None = None  # in stars; None: the filter [A > 0]
    reward: Signal = model_reward  # Q
    baseline: Signal = policy_value  # V
    weight_cap: float | None = WEIGHT_CAP  # of the exponential weight; None: no cap

    def __post_init__(self) -> None:
        if self.temperature is not None:
            require_above_0(self, "temperature")
        check_cap(self)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        advantage_N = self.reward(batch, actors) - self.baseline(batch, actors)
        is_positive_N = (advantage_N > 0).to(advantage_N)
        if self.temperature is None:
            weight_N, is_capped_N = is_positive_N, torch.zeros_like(is_positive_N)
        else:
            weight_N, is_capped_N = exponential_weight(
                advantage_N, self.temperature, self.weight_cap
            )
        metrics = {
            **weight_metrics(weight_N, is_capped_N),
            "advantage/mean": advantage_N.mean(),
            "advantage/positive": is_positive_N.mean(),
        }
        return LossOutput(actors.policy.weighted_nll(batch, weight_N), metrics)
