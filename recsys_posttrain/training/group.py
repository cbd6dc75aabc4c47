"""The processes that share one training, each with its part of every batch.

Every process holds the whole model. In a step each computes the loss of its part, divided by the
positions of the whole batch, and gradients are summed over processes by torch.distributed (gloo).
So all take the step that one process would take, up to rounding and to what is drawn for each part,
such as dropout. The first process alone validates, logs and saves; its decisions hold for all.
Others are started by `helped` (processes.py), or by torchrun (launched.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, distributed, nn

from recsys_posttrain.data.batching import Part
from recsys_posttrain.ops.softmax import masked_mean
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import LossOutput


@dataclass(frozen=True)
class Group:
    """The processes of a training, seen from one of them. rank: 0 is the first."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @cached_property
    def _idle_steps(self) -> set[int]:
        """Those whose batch is not for this process: it has fewer sequences than processes."""
        return set()

    @property
    def part(self) -> Part | None:
        """Which sequences of a batch are for this process; None: all."""
        return None if self.size == 1 else self._part

    def _part(self, length_B: Tensor, step: int) -> Tensor:
        """Of all lengths alike. Where there is none, another one stands in."""
        order_B = length_B.argsort(descending=True, stable=True)
        if self.rank < len(order_B):
            return order_B[self.rank :: self.size]
        self._idle_steps.add(step)
        return order_B[-1:]

    def own_seed(self, seed: int) -> int:
        """Of what each process draws for itself; the first one's is that of one process alone."""
        return seed if self.is_first else derived_seed(seed, "process", self.rank)

    def mean(self, output: LossOutput, step: int) -> tuple[Tensor, Tensor]:
        """The mean loss over the positions of the whole batch, and the part of it that these are,
        with a gradient."""
        if self.size == 1:
            mean = masked_mean(output.loss_N, output.counted_N)
            return mean, mean
        counted_N = torch.ones_like(output.loss_N, dtype=torch.bool)
        if output.counted_N is not None:
            counted_N = output.counted_N
        if step in self._idle_steps:
            counted_N = torch.zeros_like(counted_N)
        total = torch.where(counted_N, output.loss_N, 0).sum()
        sums = self.sum(torch.stack([total.detach(), counted_N.sum()]))
        count = sums[1].clamp(min=1)
        return sums[0] / count, total / count

    def sum(self, values: Tensor) -> Tensor:
        """Over all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        if self.size == 1:
            return
        gradients = [each.grad for each in parameters if each.grad is not None]
        flat = self.sum(torch.cat([each.flatten() for each in gradients]))
        for each, total in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            each.copy_(total.view_as(each))

    def given(self, value: Any) -> Any:
        """The first process's value."""
        if self.size == 1:
            return value
        values = [value if self.is_first else None]
        distributed.broadcast_object_list(values, 0)
        return values[0]


ALONE = Group()
