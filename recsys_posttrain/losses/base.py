"""What a pretraining loss is: a frozen dataclass that is its settings, with one method."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from recsys_posttrain.models.policy import Policy
from recsys_posttrain.types import Batch

# (policy, batch, generator of this step) -> loss_N, not reduced.
Objective = Callable[[Policy, Batch, torch.Generator], Tensor]


class PretrainingLoss(Protocol):
    def build(self, count_V: Tensor) -> Objective:
        """count_V: how often each item is in the training part, int64."""
        ...
