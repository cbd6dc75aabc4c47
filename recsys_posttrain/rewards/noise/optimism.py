"""Optimism about what the reference would not show: the error that makes a policy hack."""

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.data.repeats import rule_of
from recsys_posttrain.eligibility import Excluded, leave_out
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.ops.logsumexp import positions_per_chunk
from recsys_posttrain.rewards.noise.base import Field, Level
from recsys_posttrain.types import Batch, Split


@dataclass(frozen=True)
class RareOptimism(Level):
    """e(n, v) = -level z_nv, z_nv being log pi_ref(v | n) standardised over the items that are
    eligible in context n.

    level: standard deviation over these items in every context, in reward units; the mean is 0.
    With the output vectors t_v, z_nv = (h_n . t_v - mean) / deviation, since the normaliser of
    pi_ref cancels. Where all items are eligible, with their mean m and covariance C, that is
    h_n . (t_v - m) / sqrt(h_n . C h_n). Nothing is drawn.
    """

    def field(self, data: Split, reference: Policy, seed: int) -> Field:
        def columns(batch: Batch) -> tuple[Tensor, Tensor]:
            hidden_ND = reference.hidden_states(batch)
            item_embedding_VD = reference.item_embedding_VD.detach()
            centred_VD = item_embedding_VD - item_embedding_VD.mean(dim=0)
            rule, excluded = rule_of(data.corpus), batch.excluded
            if not rule.leaves_out_nothing and excluded is not None:
                if not rule.history:  # it is said all the same where a history is asked for
                    excluded = excluded._replace(offsets_N1=torch.zeros_like(excluded.offsets_N1))
                # The same in training, where an action stays eligible, as after a whole history.
                excluded = excluded._replace(everywhere_M=rule.never_shown_M, but_N=None)
                return self._eligible(hidden_ND, centred_VD, excluded)
            covariance_DD = centred_VD.T @ centred_VD / len(centred_VD)
            variance_N1 = (hidden_ND @ covariance_DD * hidden_ND).sum(dim=1, keepdim=True)
            smallest = torch.finfo(variance_N1.dtype).tiny
            return -self.level * hidden_ND * variance_N1.clamp(min=smallest).rsqrt(), centred_VD

        return columns

    def _eligible(
        self, hidden_ND: Tensor, centred_VD: Tensor, excluded: Excluded
    ) -> tuple[Tensor, Tensor]:
        """The columns of centred vectors, and one of ones for what the mean of a context is off."""

        def moments(hidden_CD: Tensor, excluded_C: Excluded | None) -> Tensor:
            logits_CV = leave_out(hidden_CD @ centred_VD.T, excluded_C, torch.nan)
            mean_C1 = logits_CV.nanmean(dim=1, keepdim=True)
            variance_C1 = logits_CV.sub_(mean_C1).square_().nanmean(dim=1, keepdim=True)
            return torch.cat([mean_C1, variance_C1], dim=1)

        chunk = positions_per_chunk(len(centred_VD), 2)
        moments_N2 = ops.map_chunks(moments, hidden_ND, excluded, chunk=chunk)
        mean_N1, variance_N1 = moments_N2.nan_to_num().split(1, dim=1)  # no error where none is
        scale_N1 = self.level * variance_N1.clamp(min=torch.finfo(variance_N1.dtype).tiny).rsqrt()
        state_NQ = torch.cat([-scale_N1 * hidden_ND, scale_N1 * mean_N1], dim=1)
        return state_NQ, torch.nn.functional.pad(centred_VD, (0, 1), value=1.0)
