"""The contract of a reward model: r_hat(n, v) = state_n . factor_v, in stars.

state_n depends on the context of position n, factor_v on item v. So the rewards of all items are
one matrix product, and their expectation under a policy another, without anything of size [N, V].
Every model, and every noise around one (rewards/noise), has this form.
"""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from recsys_posttrain import ops
from recsys_posttrain.config import require
from recsys_posttrain.data.positions import TrainingPositions
from recsys_posttrain.errors import UserError
from recsys_posttrain.fitted import Fitted
from recsys_posttrain.models.cache import OutputCache
from recsys_posttrain.models.next_action import next_batches, next_factors
from recsys_posttrain.tensors import load_tensors
from recsys_posttrain.types import Batch, Corpus, Sequences

ROWS_AT_A_TIME = 4096  # of [rows, K, R]
GIVEN_ITEMS = (
    "a method that reads given items, such as ASFT(reward=model_reward, baseline=user_mean), "
    "GRPO() or DPO(pairs=SampledPairs(width=0)), or a reward model such as RewardFactors"
)


class NeedsSums(UserError):
    """A model that scores given items only was asked for the rewards of the whole catalogue."""


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
    corpus: Corpus | None = None  # for a model that reads ids or the log's own unit
    fit_users_N: Tensor | None = None  # of `fit`, as indices into Corpus.user_ids


class RewardModel(nn.Module):
    """Base class of reward models: a subclass defines `member_factors`, all else follows from it.

    A class that can only predict given items defines `score` instead; where the rewards of the
    whole catalogue are needed it is refused. Parts of a loss share the factors of one batch, which
    are cached until `clear_cache`; so all but `member_factors` is for a model that is frozen.
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
        if scored:
            raise NeedsSums(
                f"{name} scores given items only, and here the rewards of the whole catalogue are "
                f"needed: take {GIVEN_ITEMS}."
            )
        raise TypeError(f"{name} does not define member_factors")

    @property
    def sums_exactly(self) -> bool:
        """Whether it has `factors`, so that sums over the catalogue are exact; otherwise it scores
        given items only."""
        return type(self).member_factors is not RewardModel.member_factors

    def know(self, corpus: Corpus) -> None:
        """Whose items it will be asked about."""
        self.item_ids = corpus.item_ids

    def restore(self, path: Path, fix: str) -> None:
        """Its tensors as they were saved. fix: what to do about a file that is damaged."""
        self.load_state_dict(load_tensors(path, self.state_dict(), fix))

    def clear_cache(self) -> None:
        """Drops the cached factors: the weights, the noise or the batch are about to change."""
        self._latest = None

    def resample(self, seed: int | None) -> None:
        """Draws its noise anew from this seed; None: no noise. Others do nothing."""

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

    def place_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """`factors` of all items, or of the places of the batch's sample of them."""
        state_NR, factor_VR = self.factors(batch)
        sample = batch.catalogue_sample
        return state_NR, factor_VR if sample is None else sample.rows(factor_VR)

    def member_scores(self, batch: Batch, items_NK: Tensor) -> Tensor:
        """Each member's prediction for given items, [M, N, K], in stars."""
        return torch.stack(
            [
                torch.einsum("nr,nkr->nk", state_NR, factor_VR[items_NK - 1])
                for state_NR, factor_VR in zip(*self.frozen_factors(batch), strict=True)
            ]
        )

    def score(self, batch: Batch, items_NK: Tensor) -> Tensor:
        """r_hat of given items, [N, K], in stars: the mean over members."""
        return ops.chosen_logits(*self.factors(batch), items_NK)

    def score_last(self, batch: Batch, items_BK: Tensor) -> Tensor:
        """`score` at the last position of each row, [B, K]."""
        length_B = batch.mask_BT.sum(dim=1)
        items_NK = items_BK.repeat_interleave(length_B, dim=0)
        return self.score(batch, items_NK)[length_B.cumsum(dim=0) - 1]

    def interval(self, batch: Batch, items_NK: Tensor, width: float = 1.0) -> Interval:
        """`score`, and `score` -+ `width` standard deviations of it."""
        mean_NK = self.score(batch, items_NK)
        if width == 0:  # also of a model that does not say how sure it is
            return Interval(mean_NK, mean_NK, mean_NK)
        spread_NK = width * self.variance(batch, items_NK).sqrt()
        return Interval(mean_NK, mean_NK - spread_NK, mean_NK + spread_NK)

    def variance(self, batch: Batch, items_NK: Tensor) -> Tensor:
        """How unsure the predictions are, [N, K]: their variance over members. Raises: UserError
        where there is one member, which would always be sure."""
        return self._several(self.member_scores(batch, items_NK)).var(dim=0, correction=0)

    def difference_spread(self, batch: Batch, first_NK: Tensor, second_NK: Tensor) -> Tensor:
        """The standard deviation of r_hat(first) - r_hat(second), [N, K], in stars: over members.

        What is wrong about both items alike cancels, which it does not in two intervals. Raises: as
        `variance`.
        """
        scores_MNX = self.member_scores(batch, torch.cat([first_NK, second_NK], dim=1))
        first_MNK, second_MNK = self._several(scores_MNX).chunk(2, dim=2)
        return (first_MNK - second_MNK).std(dim=0, correction=0)

    def _several(self, scores_MNK: Tensor) -> Tensor:
        require(
            len(scores_MNK) > 1,
            f"{type(self).__name__} is one model, which does not say how sure it is, and that is "
            "asked: give RewardFactors or several members, or take a method such as OfflinePPO.",
        )
        return scores_MNK

    def least_difference(
        self, batch: Batch, first_NK: Tensor, second_NK: Tensor, width: float
    ) -> Tensor:
        """`width` times `difference_spread`; at 0 also of a model that does not have it."""
        if width == 0:
            return torch.zeros(first_NK.shape, device=first_NK.device)
        return width * self.difference_spread(batch, first_NK, second_NK)

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
        return next_factors(
            lambda batch: _flattened(*self.member_factors(batch)),
            histories,
            self.max_length,
            next_times_N,
            users_N,
            self.device,
        )

    @property
    def device(self) -> torch.device | None:
        """Where its tensors are; None: it has none."""
        return next((tensor.device for tensor in self.state_dict().values()), None)


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
    if not model.sums_exactly:
        score_NK = torch.empty(items_NK.shape)
        with torch.inference_mode():
            for rows_B, batch in next_batches(
                histories, model.max_length, next_times_N, users_N, model.device
            ):
                asked_BK = items_NK[rows_B].to(batch.history_BT.device)
                score_NK[rows_B] = model.score_last(batch, asked_BK).float().cpu()
        return score_NK
    state_NR, factor_VR = model.last_factors(histories, next_times_N, users_N)
    return ops.map_chunks(
        lambda state_CR, items_CK: ops.chosen_logits(state_CR, factor_VR, items_CK),
        state_NR,
        items_NK,
        chunk=ROWS_AT_A_TIME,
    )
