"""A reward model that counts what it is unsure of for less."""

from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Batch


class PessimisticReward(RewardModel):
    """r_hat of `inner` less `penalty` of its standard deviations, for given items.

    A standard deviation is no product of a state and a factor, so what needs the rewards of the
    whole catalogue is refused: no approximation stands in for it.

    is_read: whether anything has asked for a reward yet.
    """

    def __init__(self, inner: RewardModel, penalty: float) -> None:
        super().__init__()
        self.inner, self.penalty = inner, penalty
        self.item_ids, self.max_length = inner.item_ids, inner.max_length
        self.is_resampled = inner.is_resampled
        self.is_read = False

    @property
    def sums_exactly(self) -> bool:
        return False

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        require(
            False,
            "Pessimistic: rewards less standard deviations have no exact sum over the catalogue, "
            "which this method or its baseline needs; take a baseline that is not the reward "
            "model's (user_mean, item_mean, learned_value), or a method of pairs such as DPO.",
        )
        raise AssertionError

    def clear_cache(self) -> None:
        super().clear_cache()
        self.inner.clear_cache()

    def score(self, batch: Batch, items_NK: Tensor) -> Tensor:
        self.is_read = True
        spread_NK = self.variance(batch, items_NK).sqrt()
        require(
            (spread_NK > 0).any(),
            "Pessimistic: the reward model says nothing of how unsure it is; give RewardFactors or "
            "a RewardEnsemble of several members, or take the method without Pessimistic.",
        )
        return self.inner.score(batch, items_NK) - self.penalty * spread_NK

    def variance(self, batch: Batch, items_NK: Tensor) -> Tensor:
        """That of `inner`."""
        return self.inner.variance(batch, items_NK)

    def difference_spread(self, batch: Batch, first_NK: Tensor, second_NK: Tensor) -> Tensor:
        """That of `inner`: what is taken off is known."""
        return self.inner.difference_spread(batch, first_NK, second_NK)
