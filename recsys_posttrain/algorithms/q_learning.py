"""One-step temporal differences of a Q head (q_head.py), shared by SNQN and SA2C.

    error = [x' is known] (Q(x, a) - r - d V(x'))^2 + mean over v of (Q(x, v) - n - d V(x))^2
    V(x) = Q_target(x, argmax of Q(x, .))

x' is the state after a: the next position of the row. The last position of a row has none. That is
no end: a window stops before its user does, so V(x') is unknown, not 0, and the first square is
left out. v are items drawn evenly, once per step; those that are not eligible at x, or that were
logged there, do not count. Nobody chose v, so it earns n and x stays. Q_target is the head as of
the last renewal: double Q-learning.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.q_head import drawn_items, q_values
from recsys_posttrain.algorithms.signals import Signal, observed_reward
from recsys_posttrain.algorithms.weights import means, value_error
from recsys_posttrain.config import require, require_at_least
from recsys_posttrain.types import Batch


class Learned(NamedTuple):
    """Q and its error; no gradient of the error flows into its targets."""

    error_N: Tensor
    logged_N: Tensor  # Q of the logged item
    drawn_NK: Tensor  # Q of the drawn items
    counted_NK: Tensor  # bool: those that are eligible and were not logged

    def metrics(self) -> dict[str, Tensor]:
        drawn_N = counted_mean(self.drawn_NK, self.counted_NK)
        return means({"q/logged": self.logged_N, "q/drawn": drawn_N, "q/error": self.error_N})


def counted_mean(values_NK: Tensor, counted_NK: Tensor) -> Tensor:
    """The mean of those that count, [N]; 0 where none does."""
    return torch.where(counted_NK, values_NK, 0).sum(dim=1) / counted_NK.sum(dim=1).clamp(min=1)


@dataclass(frozen=True)
class QLearning:
    """How a Q head learns; d and n are the source's, the other defaults ours."""

    discount: float = 0.5  # d
    negative_reward: float = 0.0  # n, in stars: below every logged reward
    samples: int = 16
    reward: Signal = observed_reward  # r
    renew_every: int = 8  # optimiser steps between copies of the head into its target
    random_targets: bool = False  # the control: the sign of every target is drawn

    def __post_init__(self) -> None:
        require_at_least(self, 1, "samples", "renew_every")
        is_less = 0 <= self.discount < 1
        require(is_less, f"QLearning: discount={self.discount} must be at least 0 and below 1.")

    def learn(self, batch: Batch, actors: Actors) -> Learned:
        items_K, counted_NK = drawn_items(batch, actors, self.samples)
        q, target = q_values("q", batch, actors), q_values("target", batch, actors)
        logged_N, drawn_NK = q.of(batch.action_N[:, None]).squeeze(1), q.of_shared(items_K)
        later_N = self.discount * target.of(q.best(batch, actors.policy.logits_dtype)).squeeze(1)
        mean = actors.log.rewards_E.mean()
        goal_N = self.reward(batch, actors) - mean + later_N.roll(-1)
        goal_NK = (self.negative_reward - mean + later_N)[:, None].expand_as(drawn_NK)
        if self.random_targets:
            shape, generator = (len(goal_N), 1 + self.samples), actors.generator
            sign_NK = (torch.randint(2, shape, generator=generator) * 2 - 1).to(goal_N)
            goal_N, goal_NK = goal_N * sign_NK[:, 0], goal_NK * sign_NK[:, 1:]
        error_N = torch.where(batch.is_last_N, 0, value_error(logged_N, goal_N))
        error_N = error_N + counted_mean(value_error(drawn_NK, goal_NK), counted_NK)
        return Learned(error_N, logged_N, drawn_NK, counted_NK)
