"""A reward model that was trained with another numbering of the items than it is asked in."""

from dataclasses import replace

import numpy as np
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.data.encode import as_text, numbers, same_items, some
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Batch, Sequences


class Renumbered(RewardModel):
    """r_hat of `inner`, for batches and items in another numbering.

    number_V1[v]: the number of item v in the numbering of `inner`; 0 of padding alone.
    """

    number_V1: Tensor

    def __init__(self, inner: RewardModel, item_ids: np.ndarray, number_V1: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.item_ids = item_ids
        self.max_length = inner.max_length
        self.is_resampled = inner.is_resampled
        self.register_buffer("number_V1", number_V1)

    @property
    def sums_exactly(self) -> bool:
        return self.inner.sums_exactly

    def resample(self, seed: int | None) -> None:
        self.clear_cache()
        self.inner.resample(seed)

    def clear_cache(self) -> None:
        super().clear_cache()
        self.inner.clear_cache()

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        state_MNR, factor_MVR = self.inner.member_factors(self._renumbered(batch))
        return state_MNR, factor_MVR[:, self.number_V1[1:] - 1]

    def score(self, batch: Batch, items_NK: Tensor) -> Tensor:
        if self.sums_exactly:
            return super().score(batch, items_NK)
        return self.inner.score(self._renumbered(batch), self.number_V1[items_NK])

    def score_last(self, batch: Batch, items_BK: Tensor) -> Tensor:
        return self.inner.score_last(self._renumbered(batch), self.number_V1[items_BK])

    def variance(self, batch: Batch, items_NK: Tensor) -> Tensor:
        return self.inner.variance(self._renumbered(batch), self.number_V1[items_NK])

    def difference_spread(self, batch: Batch, first_NK: Tensor, second_NK: Tensor) -> Tensor:
        pair = self.number_V1[first_NK], self.number_V1[second_NK]
        return self.inner.difference_spread(self._renumbered(batch), *pair)

    def _renumbered(self, batch: Batch) -> Batch:
        history_BT, actions_BT = self.number_V1[batch.history_BT], self.number_V1[batch.actions_BT]
        excluded = batch.excluded
        if excluded is not None:
            numbered = {
                name: self.number_V1[each]
                for name in ("items_E", "everywhere_M", "but_N")
                if (each := getattr(excluded, name)) is not None
            }
            windows = excluded.windows and excluded.windows.numbered(self.number_V1)
            excluded = excluded._replace(**numbered, windows=windows)
        return batch._replace(history_BT=history_BT, actions_BT=actions_BT, excluded=excluded)

    def next_factors(
        self, histories: Sequences, next_times_N: Tensor | None, users_N: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        number_V1 = self.number_V1.cpu()
        renumbered = replace(histories, items_E=number_V1[histories.items_E])
        state_NR, factor_VR = self.inner.next_factors(renumbered, next_times_N, users_N)
        return state_NR, factor_VR[number_V1[1:] - 1]


def in_numbering(model: RewardModel, item_ids: np.ndarray | None) -> RewardModel:
    """The model, to be asked about items in this numbering; itself where that is its own.

    None, here or of the model: built by hand, and taken as it is.
    Errors: UserError for an item that the model does not know, and so cannot reward.
    """
    if item_ids is None or model.item_ids is None or same_items(item_ids, model.item_ids):
        return model
    number_V1 = numbers(model.item_ids, item_ids)
    unknown_V = (number_V1[1:] == 0).numpy()
    require(
        not unknown_V.any(),
        f"the reward model does not know {int(unknown_V.sum()):,} of the policy's "
        f"{len(item_ids):,} items ({some(as_text(item_ids[unknown_V]))}); train both on the same "
        "data.",
    )
    return Renumbered(model, item_ids, number_V1)
