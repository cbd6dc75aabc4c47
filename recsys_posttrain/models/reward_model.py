"""What a reward model is: r_hat(x, item) for every item, as a product of two small matrices.

Every model here (and later every noise around one) can be written r_hat(n, v) = state_n . factor_v.
That is the whole contract: it makes the score of all items one matrix product and its expectation
under a policy another, with nothing of size [tokens, catalogue] kept.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from recsys_posttrain import ops
from recsys_posttrain.data.batching import history_batches
from recsys_posttrain.data.positions import Memory, TrainingPositions
from recsys_posttrain.types import Batch, Sequences

ROWS_AT_A_TIME = 4096  # of [rows, K, R]


class Interval(NamedTuple):
    """What an ensemble believes: its mean, and the mean minus and plus `width` deviations."""

    mean_NK: Tensor
    lower_NK: Tensor
    upper_NK: Tensor


class RewardModel(nn.Module):
    """Subclass and define `member_factors`; everything else follows from it.

    The factors of the current batch are remembered until `forget`, because several parts of a
    loss ask for them; so everything but `member_factors` is for a model that is frozen.
    """

    max_length: int  # the longest history it reads
    is_resampled = False  # whether it answers differently when it is asked again
    item_ids: np.ndarray | None = None  # of items 1..V; None: built by hand

    def __init__(self) -> None:
        super().__init__()
        self._remembered: tuple[Batch, tuple[Tensor, Tensor]] | None = None
        self._memory = Memory()
        self._factor_MVR: Tensor | None = None  # beside states in memory

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(state_MNR, factor_MVR) of the M members; r_hat of member m is their product.

        The state at t reads events strictly before the action at t, and their rewards.
        """
        raise TypeError(f"{type(self).__name__} does not define member_factors")

    def forget(self) -> None:
        self._remembered = None

    def resample(self, seed: int | None) -> None:
        """Draw resampled noise anew, or None: leave it out. Any other model stays as it is."""

    def at(self, positions: TrainingPositions | None) -> None:
        """Every batch from now on holds these positions, whose states are computed once where they
        fit in memory; None: any others."""
        self._memory.at(positions)

    @torch.no_grad()
    def frozen_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self._remembered is None or self._remembered[0] is not batch:
            self._remembered = (batch, self._known_factors(batch))
        return self._remembered[1]

    def _known_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.is_resampled or not self._memory.holds(1):
            return self.member_factors(batch)
        if self._factor_MVR is None:
            state_MNR, factor_MVR = self.member_factors(batch)
            if not self._memory.holds(state_MNR[:, 0].numel()):
                return state_MNR, factor_MVR
            self._factor_MVR = factor_MVR
        state_NMR = self._memory.read(
            "states",
            batch,
            lambda batch: self.member_factors(batch)[0].transpose(0, 1),
            self._factor_MVR,
        )
        return state_NMR.transpose(0, 1), self._factor_MVR

    def factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(state_NMR, factor_VMR), flattened to width M x R: their product is the members' mean."""
        return _flattened(*self.frozen_factors(batch))

    def member_scores(self, batch: Batch, items_NK: Tensor) -> Tensor:
        """Each member's prediction, [M, N, K], in reward units."""
        state_MNR, factor_MVR = self.frozen_factors(batch)
        return torch.stack(
            [
                torch.einsum("nr,nkr->nk", state_NR, factor_VR[items_NK - 1])
                for state_NR, factor_VR in zip(state_MNR, factor_MVR, strict=True)
            ]
        )

    def score(self, batch: Batch, items_NK: Tensor) -> Tensor:
        """r_hat of given items, [N, K], in reward units."""
        return ops.chosen_logits(*self.factors(batch), items_NK)

    def interval(self, batch: Batch, items_NK: Tensor, width: float = 1.0) -> Interval:
        """The ensemble's mean and mean -+ `width` standard deviations over members."""
        scores_MNK = self.member_scores(batch, items_NK)
        mean_NK = scores_MNK.mean(dim=0)
        spread_NK = width * scores_MNK.std(dim=0, correction=0)
        return Interval(mean_NK, mean_NK - spread_NK, mean_NK + spread_NK)

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
        """As `factors`, for the next action after all of each history: (state_NR, factor_VR), on
        the CPU. Those of the last two sets of histories are kept.

        next_times_N, users_N: as for `score_next`.
        """
        if self.is_resampled:
            return self.next_factors(histories, next_times_N, users_N)
        return self._memory.after(
            histories, lambda: self.next_factors(histories, next_times_N, users_N)
        )

    def next_factors(
        self, histories: Sequences, next_times_N: Tensor | None, users_N: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What `last_factors` returns, computed."""
        device = next((tensor.device for tensor in self.state_dict().values()), None)
        return next_factors(
            lambda batch: _flattened(*self.member_factors(batch)),
            histories,
            self.max_length,
            next_times_N,
            users_N,
            device,
        )


@torch.no_grad()
def next_factors(
    factors_of: Callable[[Batch], tuple[Tensor, Tensor]],
    histories: Sequences,
    max_length: int,
    next_times_N: Tensor | None = None,
    users_N: Tensor | None = None,
    device: torch.device | None = None,
) -> tuple[Tensor, Tensor]:
    """(state_NR, factor_VR) for the next action after all of each history, on the CPU, from
    factors_of(batch) -> (state_NR, factor_VR)."""
    users_N = torch.arange(len(histories)) if users_N is None else users_N
    state_NR = factor_VR = torch.empty(0)
    for rows_B, (past_BT, rewards_BT, times_BT, next_times_BT), length_B in history_batches(
        histories, max_length, 256, next_times_N
    ):
        mask_BT = torch.arange(past_BT.shape[1]) < length_B[:, None]
        # The action at each position does not enter the state, so any item will do.
        action = (past_BT, rewards_BT, next_times_BT)
        inputs = (past_BT, rewards_BT, times_BT, *action, mask_BT, users_N[rows_B])
        found_NR, factor_VR = factors_of(Batch(*(value.to(device) for value in inputs)))
        if not len(state_NR):
            state_NR = torch.empty(len(histories), found_NR.shape[1], dtype=found_NR.dtype)
        state_NR[rows_B] = found_NR[length_B.cumsum(dim=0).to(found_NR.device) - 1].cpu()
    return state_NR, factor_VR.cpu()


def _flattened(state_MNR: Tensor, factor_MVR: Tensor) -> tuple[Tensor, Tensor]:
    """Width M x R, so that the product is the mean over members."""
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
    """r_hat of K items per history as the next action after all of it, [N, K].

    next_times_N: when that action is; None: at the time of the last event. users_N: whose history
    it is (index into Corpus.user_ids), for a model that knows users; None: history n is user n's.
    """
    state_NR, factor_VR = model.last_factors(histories, next_times_N, users_N)
    return ops.map_chunks(
        lambda state_CR, items_CK: ops.chosen_logits(state_CR, factor_VR, items_CK),
        state_NR,
        items_NK,
        chunk=ROWS_AT_A_TIME,
    )
