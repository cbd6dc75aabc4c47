"""The true reward as a reward model: for controls that show the gain with a perfect one."""

from torch import Tensor

from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Batch
from recsys_posttrain.worlds.base import Truth


class TrueReward(RewardModel):
    """r* of the row's user, whatever the history; `Batch.sequences_B` names the user.

    An upper bound, never a method: it reads the truth that evaluation judges by. truth: aligned to
    the corpus of the batches. max_length: that of the policy, so that both read the same windows.
    """

    state_UR: Tensor
    factor_VR: Tensor

    def __init__(self, truth: Truth, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.item_ids = truth.item_ids
        self.register_buffer("state_UR", truth.state_UR)
        self.register_buffer("factor_VR", truth.factor_VR)

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.state_UR[batch.user_N][None], self.factor_VR[None]

    def difference_spread(self, batch: Batch, first_NK: Tensor, second_NK: Tensor) -> Tensor:
        """Zero: it is the truth."""
        return self.factor_VR.new_zeros(first_NK.shape)
