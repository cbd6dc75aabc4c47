"""Controls: what post-training is given in place of the log's rewards and of the reward model.

A shuffled or a constant reward says nothing, so what an algorithm gains with it does not come from
rewards; the true one says everything. Items, histories, steps and seeds are those of any other run.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Batch, Sequences


@dataclass(frozen=True)
class ShuffledRewards:
    """The rewards of all events of the log change places, so that they say nothing about items,
    users or histories; the reward model learns from the log that results. seed: of the places."""

    seed: int = 0

    def rewards(self, log: Sequences) -> Tensor:
        """Those of `log` in another order, [E]."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "shuffled rewards"))
        return log.rewards_E[torch.randperm(len(log.rewards_E), generator=generator)]


@dataclass(frozen=True)
class ConstantRewards:
    """Every reward of the log is their mean, and the reward model answers that mean exactly.

    RWR, ExpRSFT and ASFT (with a baseline) are then BC, up to rounding.
    """

    def rewards(self, log: Sequences) -> Tensor:
        """The mean of `log`, [E]."""
        return torch.full_like(log.rewards_E, float(log.rewards_E.double().mean()))


@dataclass(frozen=True)
class TrueRewards:
    """For worlds alone: the reward of every event, and what the reward model answers, is r*.

    An upper bound, never a method: it is trained on what evaluation judges by.
    """


RewardControl = ShuffledRewards | ConstantRewards | TrueRewards


class ConstantReward(RewardModel):
    """Answers `value`, in reward units, for every history and item."""

    factor_V1: Tensor

    def __init__(self, value: float, num_items: int, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.register_buffer("factor_V1", torch.full((num_items, 1), value))

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        state_N1 = self.factor_V1.new_ones(len(batch.action_N), 1)
        return state_N1[None], self.factor_V1[None]
