"""Cross-entropy over the whole catalogue: loss = -log pi(a | x)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys_posttrain.losses.base import Objective
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.types import Batch


@dataclass(frozen=True)
class FullSoftmax:
    """Exact cross-entropy, on small catalogues also the faster loss: see SampledSoftmax."""

    def build(self, count_V: Tensor) -> Objective:
        return _likelihood


def _likelihood(policy: Policy, batch: Batch, generator: torch.Generator) -> Tensor:
    return policy.weighted_nll(batch, torch.ones_like(batch.reward_N))
