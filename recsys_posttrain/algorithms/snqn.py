"""Cloning with a Q head beside it, which learns from the next state and from sampled items.

    loss = -log pi(a | x) + c error,   error: temporal differences of Q (q_learning.py)

The policy is that of the first term alone. Q reaches it through the states that both read, as an
auxiliary loss: the method does not promise more reward than cloning. Its control is
`q=QLearning(random_targets=True)`: where that does as well, nothing of the rewards was used.
Limits: c = 0 is behaviour cloning; d = 0 regresses the reward.
Source: SNQN, arXiv 2111.03474 (without drawn items: SQN, arXiv 2006.05779); the control
after Labarca et al., ICML 2024, who find that other auxiliary losses do as well.
Departures: the mean over drawn items, not the sum; a frozen copy of the head for the second of two
networks; one head over the item vectors for an output layer per item; c. Signs are ours: they keep
the size of the targets and have a mean of 0.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.q_head import q_heads, renew_target
from recsys_posttrain.algorithms.q_learning import QLearning
from recsys_posttrain.algorithms.weights import means
from recsys_posttrain.config import require_at_least
from recsys_posttrain.types import Batch, LossOutput


@dataclass(frozen=True)
class SNQN:
    """Cloning and Q-learning on shared states."""

    beats_cloning: ClassVar[bool] = False
    family: ClassVar[str] = "value based"

    coefficient: float = 0.1  # c, per square star
    q: QLearning = QLearning()

    def __post_init__(self) -> None:
        require_at_least(self, 0, "coefficient")

    def heads(self, dim: int, num_items: int) -> dict[str, nn.Module]:
        return q_heads(dim)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        learned = self.q.learn(batch, actors)
        nll_N = actors.policy.weighted_nll(batch, torch.ones_like(batch.reward_N))
        metrics = learned.metrics() | means({"nll": nll_N})
        return LossOutput(nll_N + self.coefficient * learned.error_N, metrics)

    def after_step(self, actors: Actors) -> None:
        renew_target(actors, self.q.renew_every)
