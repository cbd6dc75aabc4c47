"""Cloning weighted by the advantage of the logged item over sampled ones, by a learned Q.

    loss = -w log pi(a | x) + c error,   error: temporal differences of Q (q_learning.py)
    w = min(max(A, 0), weight_cap),   A = Q(x, a) - mean of Q(x, .) over a and the drawn items

No gradient flows through w. In the first `cloning_steps` w is 1: the Q of a new head knows nothing.
Q starts with post-training, and in a hundred steps it learns how often an item is chosen sooner
than what it earns, so the method does not promise more reward than cloning.
Limits: a weight_cap of 0 leaves the policy to Q alone; cloning_steps -> infinity is SNQN.
Source: SA2C, arXiv 2111.03474 (SAC, arXiv 2006.05779, weighs by Q itself); the weight's bounds are
those of its public code.
Departures: those of SNQN; no smoothed importance weights (TopKREINFORCE has them).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.q_head import q_heads, renew_target
from recsys_posttrain.algorithms.q_learning import QLearning
from recsys_posttrain.algorithms.weights import check_cap, weight_metrics
from recsys_posttrain.config import require_at_least
from recsys_posttrain.types import Batch, LossOutput


def advantage(logged_N: Tensor, drawn_NK: Tensor, counted_NK: Tensor) -> Tensor:
    """Q of the logged item less the mean of it and of the drawn ones that count; no gradient."""
    total_N = logged_N + torch.where(counted_NK, drawn_NK, 0).sum(dim=1)
    return (logged_N - total_N / (1 + counted_NK.sum(dim=1))).detach()


@dataclass(frozen=True)
class SA2C:
    """Supervised advantage actor-critic; the weight's bounds are the source's, the others ours."""

    beats_cloning: ClassVar[bool] = False
    family: ClassVar[str] = "value based"

    coefficient: float = 0.1  # c, per square star
    weight_cap: float | None = 10.0  # in stars; None: no cap
    cloning_steps: int = 10
    q: QLearning = QLearning()

    def __post_init__(self) -> None:
        require_at_least(self, 0, "coefficient", "cloning_steps")
        check_cap(self)

    def heads(self, dim: int, num_items: int) -> dict[str, nn.Module]:
        return q_heads(dim)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        learned = self.q.learn(batch, actors)
        gain_N = advantage(*learned[1:])
        weight_N = gain_N.clamp(min=0, max=self.weight_cap)
        if actors.step < self.cloning_steps:
            weight_N = torch.ones_like(weight_N)
        nll_N = actors.policy.weighted_nll(batch, weight_N)
        metrics = learned.metrics() | weight_metrics(weight_N) | {"advantage/mean": gain_N.mean()}
        return LossOutput(nll_N + self.coefficient * learned.error_N, metrics)

    def after_step(self, actors: Actors) -> None:
        renew_target(actors, self.q.renew_every)
