"""Optimism about what the reference would not show: the error that makes a policy hack."""

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys_posttrain.models.policy import Policy
from recsys_posttrain.rewards.noise.base import Field, Level
from recsys_posttrain.types import Batch, Split


@dataclass(frozen=True)
class RareOptimism(Level):
    """e(n, v) = -level z_nv, z_nv being log pi_ref(v | n) standardised over the items of context n.

    level: standard deviation over items in every context, in reward units; the mean is 0. The
    normaliser of pi_ref cancels: with the output vectors t_v, their mean m and covariance C,
    z_nv = h_n . (t_v - m) / sqrt(h_n . C h_n). Nothing is drawn.
    """

    def field(self, data: Split, reference: Policy, seed: int) -> Field:
        def columns(batch: Batch) -> tuple[Tensor, Tensor]:
            hidden_ND = reference.hidden_states(batch)
            item_embedding_VD = reference.item_embedding_VD.detach()
            centred_VD = item_embedding_VD - item_embedding_VD.mean(dim=0)
            covariance_DD = centred_VD.T @ centred_VD / len(centred_VD)
            variance_N1 = (hidden_ND @ covariance_DD * hidden_ND).sum(dim=1, keepdim=True)
            smallest = torch.finfo(variance_N1.dtype).tiny
            return -self.level * hidden_ND * variance_N1.clamp(min=smallest).rsqrt(), centred_VD

        return columns
