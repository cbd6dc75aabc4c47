"""Controls: rewards that replace those of the log and of the reward model in post-training.

Shuffled and constant rewards carry no information, so a gain with them does not come from rewards;
true rewards carry all of it. Items, histories, steps and seeds are those of any other run.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Batch, Sequences


@dataclass(frozen=True)
class ShuffledRewards:
    """The rewards of the log in random order, so that they are independent of items, users and
    histories; the reward model learns from that log."""

    seed: int = 0  # of the order

    def rewards(self, log: Sequences) -> Tensor:
        """The rewards of `log` in another order, [E]."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "shuffled rewards"))
        return log.rewards_E[torch.randperm(len(log.rewards_E), generator=generator)]


@dataclass(frozen=True)
class ConstantRewards:
    """The mean reward for every event of the log, and for every prediction of the reward model.

    RWR, ExpRSFT and ASFT (with a baseline) are then BC, up to rounding.
    """

    def rewards(self, log: Sequences) -> Tensor:
        """The mean reward of `log`, [E]."""
        return torch.full_like(log.rewards_E, float(log.rewards_E.double().mean()))


@dataclass(frozen=True)
class TrueRewards:
    """The true reward r* for every event and every prediction; in worlds only.

    An upper bound, never a method: it trains on the rewards by which evaluation judges.
    """


RewardControl = ShuffledRewards | ConstantRewards | TrueRewards


class ConstantReward(RewardModel):
    """A reward model that predicts `value`, in stars, for every history and item."""

    factor_V1: Tensor

    def __init__(self, value: float, num_items: int, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.register_buffer("factor_V1", torch.full((num_items, 1), value))

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        state_N1 = self.factor_V1.new_ones(len(batch.action_N), 1)
        return state_N1[None], self.factor_V1[None]

    def variance(self, batch: Batch, items_NK: Tensor) -> Tensor:
        """Zero: it is what it is."""
        return self.factor_V1.new_zeros(items_NK.shape)

    def difference_spread(self, batch: Batch, first_NK: Tensor, second_NK: Tensor) -> Tensor:
        """Zero: all items are the same to it."""
        return self.factor_V1.new_zeros(first_NK.shape)
