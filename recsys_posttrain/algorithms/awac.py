"""Advantage-weighted actor-critic: clone the better items of each user's sequence, by a softmax.

    loss = -w log pi(a | x),   w_t = T softmax_t((Q(x_t, a_t) - V(x_t)) / temperature)

The softmax is over the T positions of the user's row, so the weights of a row have mean 1 and every
user counts alike; what all of a user's rewards share divides out. V = E_{a ~ pi}[r_hat] of the
policy as it is now, exactly. No gradient flows through w.
Limits: temperature -> infinity is behaviour cloning; temperature -> 0 clones the best item of each
row alone; a row of one position is cloned.
Source: AWAC, arXiv 2006.09359, equation 13; its public code normalises by a softmax over the batch.
Departures: one-step (contextual bandit), so the critic Q is the reward model; the softmax is over a
row, because a position's loss must not depend on its neighbours; it needs no cap.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import Signal, model_reward, policy_value
from recsys_posttrain.algorithms.weights import weight_metrics
from recsys_posttrain.config import require_above_0
from recsys_posttrain.types import Batch, LossOutput


def row_softmax(exponent_N: Tensor, position_N: Tensor) -> Tensor:
    """The softmax over the positions of each row, times their number, [N].

    position_N: places within the row; a row starts at 0.
    """
    row_N = (position_N == 0).cumsum(dim=0) - 1
    lowest = torch.full_like(exponent_N, -torch.inf)
    exponential_N = (exponent_N - lowest.scatter_reduce(0, row_N, exponent_N, "amax")[row_N]).exp()
    mean_N = torch.zeros_like(exponent_N).scatter_reduce(
        0, row_N, exponential_N, "mean", include_self=False
    )
    return exponential_N / mean_N[row_N]


@dataclass(frozen=True)
class AWAC:
    """Advantage-weighted cloning within each user's sequence; the temperature is ours."""

    family: ClassVar[str] = "value based"
    temperature: float = 1.0  # in stars; lambda in the paper
    reward: Signal = model_reward  # Q
    baseline: Signal = policy_value  # V

    def __post_init__(self) -> None:
        require_above_0(self, "temperature")

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        advantage_N = self.reward(batch, actors) - self.baseline(batch, actors)
        weight_N = row_softmax(advantage_N / self.temperature, batch.position_N)
        metrics = {**weight_metrics(weight_N), "advantage/mean": advantage_N.mean()}
        return LossOutput(actors.policy.weighted_nll(batch, weight_N), metrics)
