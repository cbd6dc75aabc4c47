"""The contract of a reward model: r_hat(n, v) = state_n . factor_v, in stars.

state_n depends on the context of position n, factor_v on item v. So the rewards of all items are
one matrix product, and their expectation under a policy another, without anything of size [N, V].
Every model, and every noise around one (rewards/noise), has this form.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from recsys_posttrain import ops
from recsys_posttrain.config import require
from recsys_posttrain.data.batching import history_batches
from recsys_posttrain.data.positions import TrainingPositions
from recsys_posttrain.eligibility import excluded_spans
from recsys_posttrain.models.cache import OutputCache
from recsys_posttrain.plan import Fitted
from recsys_posttrain.types import Batch, Sequences

ROWS_AT_A_TIME = 4096  # of [rows, K, R]


class Interval(NamedTuple):
    """A prediction, and the prediction minus and plus some standard deviations of it."""

    mean_NK: Tensor
    lower_NK: Tensor
    upper_NK: Tensor


class RewardData(NamedTuple):
    """What a reward model may learn from, in whole sequences of disjoint users."""

    fit: Sequences
    validation: Sequences  # to stop on, or to choose a setting
    num_items: int


class RewardModel(nn.Module):
    """Base class of reward models: a subclass defines `member_factors`, all else follows from it.

    A class that can only predict given items defines `score` instead; where the rewards of the
    whole catalogue are needed it is refused. Several parts of a loss need the factors of one batch,
    so the latest batch's are cached until `clear_cache`. Everything but `member_factors` is
    therefore for a model that is frozen.
    """

    max_length: int  # the longest history that it reads, in events
    is_resampled = False  # whether its noise, and so its output, is drawn anew in every step
    item_ids: np.ndarray | None = None  # item_ids[v - 1] is the id of item v; None: built by hand

    def __init__(self) -> None:
        super().__init__()
        self._latest: tuple[Batch, tuple[Tensor, Tensor]] | None = None
        self._cache = OutputCache()
        self._factor_MVR: Tensor | None = None  # belongs to the states in the cache

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """state_MNR and factor_MVR of the M members; r_hat of member m is their product.

        The state at t depends on events strictly before the action at t, and on their rewards.
        """
        name, scored = type(self).__name__, type(self).score is not RewardModel.score
        require(
            not scored,
            f"{name} scores given items only, and here the rewards of the whole catalogue are "
            "needed: give it member_factors, or take a method that needs neither sums over the "
            "catalogue nor intervals.",
        )
        raise TypeError(f"{name} does not define member_factors")

    def clear_cache(self) -> None:
        """Drops the cached factors: the weights, the noise or the batch are about to change."""
        self._latest = None

    def resample(self, seed: int | None) -> None:
        """Draws noise that is resampled from this seed; None: without noise. Others do nothing."""

    def set_positions(self, positions: TrainingPositions | None) -> None:
        """From now on every batch consists of these positions; None: of any others.

        Their states are computed once, where they fit in memory.
        """
        self._cache.set_positions(positions)

    @torch.no_grad()
    def frozen_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """`member_factors` without a gradient; cached."""
        if self._latest is None or self._latest[0] is not batch:
            self._latest = (batch, self._factors_at(batch))
        return self._latest[1]

    def _factors_at(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """`member_factors`, its states from the cache of training positions where there is one."""
        if self.is_resampled or not self._cache.holds(1):
            return self.member_factors(batch)
        if self._factor_MVR is None:
            state_MNR, factor_MVR = self.member_factors(batch)
            if not self._cache.holds(state_MNR[:, 0].numel()):
                return state_MNR, factor_MVR
            self._factor_MVR = factor_MVR
        state_NMR = self._cache.get(
            "states",
            batch,
            lambda batch: self.member_factors(batch)[0].transpose(0, 1),
            self._factor_MVR,
        )
        return state_NMR.transpose(0, 1), self._factor_MVR

    def factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """state_NR and factor_VR of width M x R, whose product is the mean over members."""
        return _flattened(*self.frozen_factors(batch))

    def member_scores(self, batch: Batch, items_NK: Tensor) -> Tensor:
        """Each member's prediction for given items, [M, N, K], in stars."""
        state_MNR, factor_MVR = self.frozen_factors(batch)
        return torch.stack(
            [
                torch.einsum("nr,nkr->nk", state_NR, factor_VR[items_NK - 1])
                for state_NR, factor_VR in zip(state_MNR, factor_MVR, strict=True)
            ]
        )

    def score(self, batch: Batch, items_NK: Tensor) -> Tensor:
        """r_hat of given items, [N, K], in stars: the mean over members."""
        return ops.chosen_logits(*self.factors(batch), items_NK)

    def interval(self, batch: Batch, items_NK: Tensor, width: float = 1.0) -> Interval:
        """`score`, and `score` -+ `width` standard deviations of it."""
        mean_NK = self.score(batch, items_NK)
        spread_NK = width * self.variance(batch, items_NK).sqrt()
        return Interval(mean_NK, mean_NK - spread_NK, mean_NK + spread_NK)

    def variance(self, batch: Batch, items_NK: Tensor) -> Tensor:
        """How uncertain the predictions of given items are, [N, K]: their variance over members."""
        return self.member_scores(batch, items_NK).var(dim=0, correction=0)

    def difference_spread(self, batch: Batch, first_NK: Tensor, second_NK: Tensor) -> Tensor:
        """The standard deviation of r_hat(first) - r_hat(second), [N, K], in stars: over members.

        What is wrong about both items alike cancels, which it does not in two intervals.

        Raises: UserError where there is one member: two items would always be told apart.
        """
        scores = self.member_scores(batch, torch.cat([first_NK, second_NK], dim=1))
        require(
            len(scores) > 1,
            f"{type(self).__name__} is one model, which does not say how sure it is of the order "
            "of two items, and pairs are chosen by that: give RewardFactors or a RewardEnsemble of "
            "several members, or take a method without pairs, such as OfflinePPO.",
        )
        first_MNK, second_MNK = scores.chunk(2, dim=2)
        return (first_MNK - second_MNK).std(dim=0, correction=0)

    def score_all(self, batch: Batch) -> Tensor:
        """r_hat of every item, [N, V]: for small catalogues and tests."""
        state_NR, factor_VR = self.factors(batch)
        return state_NR @ factor_VR.T

    def last_factors(
        self,
        histories: Sequences,
        next_times_N: Tensor | None = None,
        users_N: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """`factors` for the next action after each whole history, on the CPU; cached.

        next_times_N, users_N: as for `score_next`.
        """
        if self.is_resampled:
            return self.next_factors(histories, next_times_N, users_N)
        return self._cache.after(
            histories, lambda: self.next_factors(histories, next_times_N, users_N)
        )

    def next_factors(
        self, histories: Sequences, next_times_N: Tensor | None, users_N: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Computes `last_factors`."""
        device = next((tensor.device for tensor in self.state_dict().values()), None)
        return next_factors(
            lambda batch: _flattened(*self.member_factors(batch)),
            histories,
            self.max_length,
            next_times_N,
            users_N,
            device,
        )


class RewardConfig(Protocol):
    """The settings of a class of reward models: a frozen dataclass with these."""

    @property
    def held_out(self) -> float:
        """Share of users that it does not learn from: half for `validation`, half to judge it."""
        ...

    def train(
        self, data: RewardData, seed: int, folder: Path | None = None, device: str = "cpu"
    ) -> tuple[RewardModel, Fitted]:
        """A trained model. folder: for checkpoints and metrics.jsonl; None: no files."""
        ...

    def build(self, num_items: int) -> RewardModel:
        """A model to load the tensors of a trained one into."""
        ...


@torch.no_grad()
def next_factors(
    factors_of: Callable[[Batch], tuple[Tensor, Tensor]],
    histories: Sequences,
    max_length: int,
    next_times_N: Tensor | None = None,
    users_N: Tensor | None = None,
    device: torch.device | None = None,
) -> tuple[Tensor, Tensor]:
    """state_NR and factor_VR for the next action after each whole history, on the CPU.

    factors_of: Batch -> (state_NR, factor_VR).
    next_times_N, users_N: as for `score_next`.
    device: where the batches are computed; None: the CPU.
    """
    users_N = torch.arange(len(histories)) if users_N is None else users_N
    first_N = histories.offsets_N1[:-1]
    state_NR = factor_VR = torch.empty(0)
    for rows_B, (past_BT, rewards_BT, times_BT, next_times_BT), length_B in history_batches(
        histories, max_length, 256, next_times_N
    ):
        mask_BT = torch.arange(past_BT.shape[1]) < length_B[:, None]
        # What is not eligible matters after the whole history alone.
        is_last_BT = torch.arange(past_BT.shape[1]) == length_B[:, None] - 1
        seen_BT = torch.where(is_last_BT, histories.lengths_N[rows_B, None], 0)
        first_BT = first_N[rows_B, None].expand_as(seen_BT)
        excluded = excluded_spans(histories.items_E, first_BT[mask_BT], seen_BT[mask_BT])
        # The action at each position does not enter the state, so any item will do.
        action = (past_BT, rewards_BT, next_times_BT)
        inputs = (past_BT, rewards_BT, times_BT, *action, mask_BT, users_N[rows_B], excluded)
        found_NR, factor_VR = factors_of(Batch(*inputs).to(device))
        if not len(state_NR):
            state_NR = torch.empty(len(histories), found_NR.shape[1], dtype=found_NR.dtype)
        state_NR[rows_B] = found_NR[length_B.cumsum(dim=0).to(found_NR.device) - 1].cpu()
    return state_NR, factor_VR.cpu()


def _flattened(state_MNR: Tensor, factor_MVR: Tensor) -> tuple[Tensor, Tensor]:
    """The factors of all members side by side, so that their product is the mean over members."""
    return (
        state_MNR.transpose(0, 1).flatten(1) / len(state_MNR),
        factor_MVR.transpose(0, 1).flatten(1),
    )


def score_next(
    model: RewardModel,
    histories: Sequences,
    items_NK: Tensor,
    next_times_N: Tensor | None = None,
    users_N: Tensor | None = None,
) -> Tensor:
    """r_hat of K items per history as the next action after all of it, [N, K], in stars.

    next_times_N: time of that action; None: that of the last event.
    users_N: the user of each history (index into Corpus.user_ids), for a model that knows users;
        None: history n is user n's.
    """
    state_NR, factor_VR = model.last_factors(histories, next_times_N, users_N)
    return ops.map_chunks(
        lambda state_CR, items_CK: ops.chosen_logits(state_CR, factor_VR, items_CK),
        state_NR,
        items_NK,
        chunk=ROWS_AT_A_TIME,
    )
