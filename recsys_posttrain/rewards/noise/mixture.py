"""A better reward model than there is: a share of the truth in each prediction. In worlds only."""

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.rewards.noise.base import Level
from recsys_posttrain.types import Batch, Sequences


@dataclass(frozen=True)
class TruthShare(Level):
    """(1 - level) r_hat + level r*: upward quality, as a noise is downward.

    An upper bound, never a method. Validation asks the reward model without it.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.level < 1,
            f"TruthShare: level={self.level} must be below 1; for the truth alone give the control "
            "TrueRewards().",
        )


class Mixture(RewardModel):
    """(1 - share) first + share second, for each prediction; uncertain as the first."""

    def __init__(self, first: RewardModel, second: RewardModel, share: float) -> None:
        super().__init__()
        self.first, self.second, self.share = first, second, share
        self.item_ids = first.item_ids
        self.max_length = first.max_length

    def clear_cache(self) -> None:
        super().clear_cache()
        self.first.clear_cache()
        self.second.clear_cache()

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of each member of the first, with the mean of the second."""
        state_MNR, factor_MVR = self.first.frozen_factors(batch)
        return self._mixed((state_MNR, factor_MVR), self.second.factors(batch))

    def factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The columns of the second once, not once for each member."""
        return self._mixed(self.first.factors(batch), self.second.factors(batch))

    def next_factors(
        self, histories: Sequences, next_times_N: Tensor | None, users_N: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        asked = histories, next_times_N, users_N
        return self._mixed(self.first.last_factors(*asked), self.second.last_factors(*asked))

    def variance(self, batch: Batch, items_NK: Tensor) -> Tensor:
        return (1 - self.share) ** 2 * self.first.variance(batch, items_NK)

    def difference_spread(self, batch: Batch, first_NK: Tensor, second_NK: Tensor) -> Tensor:
        return (1 - self.share) * self.first.difference_spread(batch, first_NK, second_NK)

    def _mixed(
        self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        state, factor = first
        other, other_factor = (
            each.expand(*state.shape[:-2], *each.shape[-2:]).to(state) for each in second
        )
        return (
            torch.cat([(1 - self.share) * state, self.share * other], dim=-1),
            torch.cat([factor, other_factor], dim=-1),
        )
