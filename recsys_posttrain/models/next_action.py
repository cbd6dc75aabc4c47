"""The next action after each whole history, as batches that a reward model can be asked about."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from recsys_posttrain.data.batching import history_batches
from recsys_posttrain.eligibility import excluded_spans
from recsys_posttrain.types import Batch, Sequences


def next_batches(
    histories: Sequences,
    max_length: int,
    next_times_N: Tensor | None = None,
    users_N: Tensor | None = None,
    device: torch.device | None = None,
) -> Iterator[tuple[Tensor, Batch]]:
    """Yields: the indices of B histories, longest first, and a batch whose row b ends with the
    action after history rows_B[b]; the item of that action is not known, so any stands there.

    next_times_N, users_N: as for `score_next`. device: of the batches; None: the CPU.
    """
    users_N = torch.arange(len(histories)) if users_N is None else users_N
    first_N = histories.offsets_N1[:-1]
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
        yield rows_B, Batch(*inputs).to(device)


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

    factors_of: Batch -> (state_NR, factor_VR). The others are as for `next_batches`.
    """
    state_NR = factor_VR = torch.empty(0)
    for rows_B, batch in next_batches(histories, max_length, next_times_N, users_N, device):
        found_NR, factor_VR = factors_of(batch)
        if not len(state_NR):
            state_NR = torch.empty(len(histories), found_NR.shape[1], dtype=found_NR.dtype)
        state_NR[rows_B] = found_NR[batch.is_last_N].cpu()
    return state_NR, factor_VR.cpu()
