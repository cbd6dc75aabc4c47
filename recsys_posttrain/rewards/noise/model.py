"""A reward model with an error added to each of its predictions."""

from collections.abc import Callable

import torch
from torch import Tensor

from recsys_posttrain.data.positions import TrainingPositions
from recsys_posttrain.models.next_action import next_factors
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.rewards.noise.base import Field
from recsys_posttrain.types import Batch, Sequences


class NoisyReward(RewardModel):
    """r_hat(n, v) of `inner` + e(n, v), the same error for all members.

    draw: the field of a seed. seed: of the frozen field; None: resampled, `resample` then draws one
    from each step's seed, and without it the error is its mean, 0. max_length: of the histories
    that the policy sees, so that an error is the same in training and in evaluation.
    """

    def __init__(
        self, inner: RewardModel, draw: Callable[[int], Field], seed: int | None, max_length: int
    ) -> None:
        super().__init__()
        self.inner = inner
        self.item_ids = inner.item_ids
        self.max_length = min(inner.max_length, max_length)
        self.draw = draw
        self.is_resampled = seed is None
        self.error_field = None if seed is None else draw(seed)
        self._columns: tuple[Batch, tuple[Tensor, Tensor]] | None = None

    def resample(self, seed: int | None) -> None:
        if self.is_resampled:
            self.clear_cache()
            self.error_field = None if seed is None else self.draw(seed)

    def set_positions(self, positions: TrainingPositions | None) -> None:
        self.inner.set_positions(positions)

    def clear_cache(self) -> None:
        super().clear_cache()
        self.inner.clear_cache()
        self._columns = None

    def errors(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """(state_NQ, factor_VQ) of the error; None for no error."""
        if self.error_field is None:
            return None
        if self._columns is None or self._columns[0] is not batch:
            with torch.no_grad():
                self._columns = (batch, self.error_field(batch))
        return self._columns[1]

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        state_MNR, factor_MVR = self.inner.frozen_factors(batch)
        if (errors := self.errors(batch)) is None:
            return state_MNR, factor_MVR
        state_NQ, factor_VQ = errors
        return (
            torch.cat([state_MNR, state_NQ.expand(len(state_MNR), -1, -1)], dim=2),
            torch.cat([factor_MVR, factor_VQ.expand(len(factor_MVR), -1, -1)], dim=2),
        )

    def factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The columns of the error once, not once for each member."""
        state_NR, factor_VR = self.inner.factors(batch)
        if (errors := self.errors(batch)) is None:
            return state_NR, factor_VR
        return (torch.cat([state_NR, errors[0]], dim=1), torch.cat([factor_VR, errors[1]], dim=1))

    def next_factors(
        self, histories: Sequences, next_times_N: Tensor | None, users_N: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        inner = self.inner.last_factors(histories, next_times_N, users_N)
        if (field := self.error_field) is None:
            return inner
        errors = next_factors(field, histories, self.max_length, next_times_N, users_N)
        state_NR, factor_VR = (torch.cat(pair, dim=1) for pair in zip(inner, errors, strict=True))
        return state_NR, factor_VR

    def variance(self, batch: Batch, items_NK: Tensor) -> Tensor:
        return self.inner.variance(batch, items_NK)

    def difference_spread(self, batch: Batch, first_NK: Tensor, second_NK: Tensor) -> Tensor:
        """That of `inner`: all members make the same error."""
        return self.inner.difference_spread(batch, first_NK, second_NK)

    def member_scores(self, batch: Batch, items_NK: Tensor) -> Tensor:
        scores_MNK = self.inner.member_scores(batch, items_NK)
        if (errors := self.errors(batch)) is None:
            return scores_MNK
        state_NQ, factor_VQ = errors
        return scores_MNK + torch.einsum("nq,nkq->nk", state_NQ, factor_VQ[items_NK - 1])
