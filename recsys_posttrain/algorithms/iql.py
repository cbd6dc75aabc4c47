"""Implicit Q-learning: clone logged items by how far they are above a high expectile of their kind.

    loss = -w log pi(a | x) + |level - [Q < V(x)]| (V(x) - Q)^2,   Q = Q(x, a)
    w = min(exp((Q - V(x)) / temperature), weight_cap)

V is a learned head; no gradient flows through w. Of the items that were logged in contexts like x,
V is the `level` expectile of Q: at level -> 1 the value of the best of them. No other item is ever
asked for.
Limits: level = 1/2 is ASFT with the learned V(x) as its baseline; temperature -> infinity is
behaviour cloning.
Source: IQL, arXiv 2110.06169, equations 5 and 7 (beta there is 1 / temperature; level tau).
Departures: one-step (contextual bandit), in which Q(x, a) is the regression of the reward on x and
a: that is the reward model. With `reward=observed_reward` the noise of a rating counts as value,
which a high expectile picks out. The cap is that of all exponential weights here (the paper's 100).
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import Signal, learned_value, model_reward
from recsys_posttrain.algorithms.weights import (
    WEIGHT_CAP,
    check_cap,
    expectile_error,
    explained_share,
    exponential_weight,
    value_head,
    weight_metrics,
)
from recsys_posttrain.config import require, require_above_0
from recsys_posttrain.types import Batch, LossOutput


@dataclass(frozen=True)
class IQL:
    """Implicit Q-learning; the level is the paper's, the temperature and the cap are ours."""

    family: ClassVar[str] = "value based"
    level: float = 0.7  # of the expectile
    temperature: float = 1.0  # in stars
    reward: Signal = model_reward  # Q
    weight_cap: float | None = WEIGHT_CAP  # None: no cap

    def __post_init__(self) -> None:
        require(0 < self.level < 1, f"IQL: level={self.level} must be above 0 and below 1.")
        require_above_0(self, "temperature")
        check_cap(self)

    def heads(self, dim: int, num_items: int) -> dict[str, nn.Module]:
        return value_head(learned_value, dim)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        q_N, value_N = self.reward(batch, actors), learned_value(batch, actors)
        weight_N, is_capped_N = exponential_weight(q_N - value_N, self.temperature, self.weight_cap)
        error_N = expectile_error(value_N, q_N, self.level)
        metrics = {
            **weight_metrics(weight_N, is_capped_N),
            "advantage/mean": (q_N - value_N).detach().mean(),
            "baseline/r2": explained_share(value_N, batch.reward_N),
            "value/error": error_N.detach().mean(),
        }
        return LossOutput(actors.policy.weighted_nll(batch, weight_N) + error_N, metrics)
