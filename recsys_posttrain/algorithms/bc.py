"""Behaviour cloning: continued training on the logged items, blind to rewards.

    loss = -log pi(a | x)

Limits: none; it has no hyper-parameter. It is the limit of every weighted method here as the
weights become equal.
Source: maximum likelihood; in the comparison it is the control that gets the same steps and data.
Departures: none.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.types import Batch, LossOutput


@dataclass(frozen=True)
class BC:
    """The control of every comparison; it has no fields."""

    family: ClassVar[str] = "weighted likelihood"
    reads_rewards: ClassVar[bool] = False

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        one_N = torch.ones_like(batch.reward_N)
        return LossOutput(actors.policy.weighted_nll(batch, one_N), {})
