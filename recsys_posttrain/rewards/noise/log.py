"""A log with an error in each of its rewards."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.repeats import Rule
from recsys_posttrain.rewards.noise.base import Field
from recsys_posttrain.types import Batch, Sequences

ROWS = 128


class NoisyLog(NamedTuple):
    """A training log with errors in its rewards.

    sequences: the log that post-training reads.
    redraw: redraw(batch, seed) is the batch of a step with rewards drawn anew from the step's seed;
        None: rewards are those of `sequences`.
    """

    sequences: Sequences
    redraw: Callable[[Batch, int], Batch] | None = None


@torch.no_grad()
def log_with_errors(
    train: Sequences, field: Field, max_length: int, device: str, rule: Rule
) -> Sequences:
    """r + e(history, item) at every event; a user's first has no history and stays as it is.

    A history is the part of a window of max_length events, counted back from the user's last event
    as in training; earlier events lie in earlier windows. rule: as in training.
    """
    rewards_E = train.rewards_E.clone()
    skipped = 0
    while len(rows_N := (train.lengths_N - skipped >= 2).nonzero().squeeze(1)):
        rows_N = rows_N[train.lengths_N[rows_N].argsort(descending=True, stable=True)]
        for rows_B in torch.split(rows_N, ROWS):
            skipped_B = torch.full_like(rows_B, skipped)
            batch = batch_of(train, rows_B, max_length, skipped_B, rule)
            stop_B = train.offsets_N1[batch.sequences_B + 1] - skipped
            first_B1 = (stop_B - batch.mask_BT.sum(dim=1))[:, None]
            index_N = batch.real(first_B1.expand_as(batch.mask_BT)) + batch.position_N
            error_N = _errors(batch.to(torch.device(device)), field)
            rewards_E[index_N] += error_N.cpu()
        skipped += max_length
    return replace(train, rewards_E=rewards_E)


@torch.no_grad()
def batch_with_errors(batch: Batch, field: Field) -> Batch:
    """r + e at every action, and where that action is history to a later one."""
    error_BT = torch.zeros_like(batch.rewards_BT)
    error_BT[batch.mask_BT] = _errors(batch, field)
    past_BT = nn.functional.pad(error_BT[:, :-1], (1, 0)).masked_fill(~batch.mask_BT, 0)
    return batch._replace(
        rewards_BT=batch.rewards_BT + error_BT,
        history_rewards_BT=batch.history_rewards_BT + past_BT,
    )


def _errors(batch: Batch, field: Field) -> Tensor:
    """e of the logged actions, [N]."""
    state_NQ, factor_VQ = field(batch)
    return (state_NQ * factor_VQ[batch.action_N - 1]).sum(dim=1)
