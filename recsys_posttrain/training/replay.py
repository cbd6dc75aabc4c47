"""A method on new events, with a share of the past replayed so that it is not forgotten.

    loss = (1 - share) mean over new positions + share mean over old ones

New and old are said by the signal of data/newest.py. The method itself reads whole windows: a
baseline, say, is a mean over all of a user's rewards.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.base import Algorithm, after_step, heads_of
from recsys_posttrain.data.newest import NEW, OLD, PART
from recsys_posttrain.types import Batch, LossOutput


def replay_weights(is_new_N: Tensor, is_old_N: Tensor, share: float) -> Tensor:
    """Weights whose mean over the positions that are either is 1, and with which old ones have the
    share of their sum. A batch with one kind alone has that kind, and a share of 0 no old one."""
    new, old = is_new_N.sum(), is_old_N.sum()
    if not new:
        share = float(share > 0)
    elif not old:
        share = 0.0
    total = new + old
    of_new, of_old = (1 - share) * total / new.clamp(min=1), share * total / old.clamp(min=1)
    return is_new_N * of_new + is_old_N * of_old


@dataclass(frozen=True)
class Replayed:
    """share: of the loss, on old events."""

    method: Algorithm
    share: float

    def heads(self, dim: int, num_items: int) -> dict[str, nn.Module]:
        return heads_of(self.method, dim, num_items)

    def after_step(self, actors: Actors) -> None:
        after_step(self.method, actors)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        assert batch.signals is not None
        loss_N, metrics, counted_N = self.method.loss(batch, actors)
        part_N = batch.signals.of(PART)
        counted_N = torch.ones_like(part_N, dtype=torch.bool) if counted_N is None else counted_N
        is_new_N, is_old_N = ((part_N == part) & counted_N for part in (NEW, OLD))
        weight_N = replay_weights(is_new_N, is_old_N, self.share)
        return LossOutput(loss_N * weight_N, metrics, is_new_N | is_old_N)
