"""What a reward model is: r_hat(x, item) for every item, as a product of two small matrices.

Every model here (and later every noise around one) can be written r_hat(n, v) = state_n . factor_v.
That is the whole contract: it makes the score of all items one matrix product and its expectation
under a policy another, with nothing of size [tokens, catalogue] kept.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recsys_posttrain import ops
from recsys_posttrain.data.batching import history_batches
from recsys_posttrain.types import Batch, Sequences


class Interval(NamedTuple):
    """What an ensemble believes: its mean, and the mean minus and plus `width` deviations."""

    mean_BTK: Tensor
    lower_BTK: Tensor
    upper_BTK: Tensor


class RewardModel(nn.Module):
    """Subclass and define `member_factors`; everything else follows from it.

    The factors of the current batch are remembered until `forget`, because several parts of a
    loss ask for them; so everything but `member_factors` is for a model that is frozen.
    """

    max_length: int  # the longest history it reads

    def __init__(self) -> None:
        super().__init__()
        self._remembered: tuple[Batch, tuple[Tensor, Tensor]] | None = None

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(state_MNR, factor_MVR) of the M members; r_hat of member m is their product.

        The state at t reads events strictly before the action at t, and their rewards.
        """
        raise TypeError(f"{type(self).__name__} does not define member_factors")

    def forget(self) -> None:
        self._remembered = None

    def resample(self, seed: int | None) -> None:
        """Draw resampled noise anew, or None: leave it out. Any other model stays as it is."""

    def _frozen_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self._remembered is None or self._remembered[0] is not batch:
            with torch.no_grad():
                self._remembered = (batch, self.member_factors(batch))
        return self._remembered[1]

    def factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(state_NMR, factor_VMR), flattened to width M x R: their product is the members' mean."""
        state_MNR, factor_MVR = self._frozen_factors(batch)
        return (
            state_MNR.transpose(0, 1).flatten(1) / len(state_MNR),
            factor_MVR.transpose(0, 1).flatten(1),
        )

    def member_scores(self, batch: Batch, items_BTK: Tensor) -> Tensor:
        """Each member's prediction, [M, B, T, K], in reward units; 0 at padding."""
        state_MNR, factor_MVR = self._frozen_factors(batch)
        items_NK = ops.pack(items_BTK, batch.mask_BT) - 1
        return torch.stack(
            [
                ops.unpack(torch.einsum("nr,nkr->nk", state_NR, factor_VR[items_NK]), batch.mask_BT)
                for state_NR, factor_VR in zip(state_MNR, factor_MVR, strict=True)
            ]
        )

    def score(self, batch: Batch, items_BTK: Tensor) -> Tensor:
        """r_hat of given items, [B, T, K], in reward units; 0 at padding."""
        return self.member_scores(batch, items_BTK).mean(dim=0)

    def interval(self, batch: Batch, items_BTK: Tensor, width: float = 1.0) -> Interval:
        """The ensemble's mean and mean -+ `width` standard deviations over members."""
        scores_MBTK = self.member_scores(batch, items_BTK)
        mean_BTK = scores_MBTK.mean(dim=0)
        spread_BTK = width * scores_MBTK.std(dim=0, correction=0)
        return Interval(mean_BTK, mean_BTK - spread_BTK, mean_BTK + spread_BTK)

    def score_all(self, batch: Batch) -> Tensor:
        """r_hat of every item, [B, T, V]: for small catalogues and tests."""
        state_NR, factor_VR = self.factors(batch)
        return ops.unpack(state_NR @ factor_VR.T, batch.mask_BT)


@torch.inference_mode()
def score_next(
    model: RewardModel,
    histories: Sequences,
    items_NK: Tensor,
    next_times_N: Tensor | None = None,
    users_N: Tensor | None = None,
) -> Tensor:
    """r_hat of K items per history as the next action after all of it, [N, K].

    next_times_N: when that action is; None: at the time of the last event. users_N: whose the
    histories are, for a model that errs by user; None: user n of history n.
    """
    score_NK = torch.empty(items_NK.shape)
    for rows_B, (past_BT, rewards_BT, times_BT, next_times_BT), length_B in history_batches(
        histories, model.max_length, 256, next_times_N
    ):
        mask_BT = torch.arange(past_BT.shape[1]) < length_B[:, None]
        device = next((p.device for p in model.parameters()), past_BT.device)
        # The action at each position does not enter the state, so any item will do.
        action = (past_BT, rewards_BT, next_times_BT)
        users_B = rows_B if users_N is None else users_N[rows_B]
        inputs = (past_BT, rewards_BT, times_BT, *action, mask_BT, users_B)
        batch = Batch(*(value.to(device) for value in inputs))
        state_NR, factor_VR = (value.cpu() for value in model.factors(batch))
        state_BR = state_NR[length_B.cumsum(dim=0) - 1]
        score_NK[rows_B] = torch.einsum("br,bkr->bk", state_BR, factor_VR[items_NK[rows_B] - 1])
    return score_NK
