"""Any method that reads the reward model, with r_hat less some of its standard deviations.

    loss = that of `method`, with r_hat(x, a) - penalty sd(r_hat(x, a)) for r_hat(x, a)

Limits: penalty = 0 is the method itself; penalty -> infinity ranks items by how sure they are.
Source: pessimistic reward models for off-policy learning in recommendation, O. Jeunen and
B. Goethals, RecSys 2021, where the lower bound of a Bayesian reward model takes the place of its
mean.
Departures: the standard deviation is that of the reward model at hand, for an ensemble over its
members. It acts on the loss alone: validation and `reward/proxy` report r_hat itself. Exact sums
over the catalogue are refused (models/pessimistic.py), so ASFT(model_reward) needs another baseline
than reference_value, OfflinePPO one that is not old_value, and ExactPPO cannot be pessimistic.
"""

from dataclasses import dataclass

from torch import nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.base import (
    Algorithm,
    after_step,
    family_of,
    heads_of,
    reads_rewards,
)
from recsys_posttrain.algorithms.dpo import DPO
from recsys_posttrain.config import require, require_at_least
from recsys_posttrain.models.pessimistic import PessimisticReward
from recsys_posttrain.types import Batch, LossOutput


@dataclass(frozen=True)
class Pessimistic:
    """A method that counts what the reward model is unsure of for less; the defaults are ours."""

    method: Algorithm = DPO()
    penalty: float = 1.0  # in standard deviations of r_hat

    def __post_init__(self) -> None:
        require_at_least(self, 0, "penalty")
        self._require_reader(reads_rewards(self.method))

    def _require_reader(self, reads: bool) -> None:
        name = type(self.method).__name__
        require(
            reads,
            f"Pessimistic: method={name} as it is set reads no reward model, so there is nothing "
            f"to be pessimistic about; take {name} by itself, or reward=model_reward.",
        )

    @property
    def family(self) -> str:
        return family_of(self.method)

    def heads(self, dim: int, num_items: int) -> dict[str, nn.Module]:
        return heads_of(self.method, dim, num_items)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        reward = actors.reward
        lower = PessimisticReward(reward, self.penalty)
        actors.reward = lower
        try:
            output = self.method.loss(batch, actors)
        finally:
            actors.reward = reward
        self._require_reader(lower.is_read)
        return output

    def after_step(self, actors: Actors) -> None:
        after_step(self.method, actors)
