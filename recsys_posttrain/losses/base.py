"""The contract of a pretraining loss: a frozen dataclass of its settings, with one method."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from recsys_posttrain.models.policy import Policy
from recsys_posttrain.types import Batch

# (policy, batch, generator of this step) -> loss_N, not reduced.
Objective = Callable[[Policy, Batch, torch.Generator], Tensor]


class PretrainingLoss(Protocol):
    """One way to pretrain a policy."""

    def build(self, count_V: Tensor) -> Objective:
        """The function that computes the loss of each position, [N].

        count_V: number of training events of each item, int64.
        """
        ...
