"""E_pi[r] over the items that may be shown, for any reward that is a product of factors."""

import torch
from torch import Tensor

from recsys_posttrain.data.repeats import removed_for
from recsys_posttrain.eligibility import leave_out
from recsys_posttrain.evaluation.ranking import item_slices, score_chunks
from recsys_posttrain.logged import rows_of
from recsys_posttrain.ops.logsumexp import LARGEST_BUFFER, positions_per_chunk
from recsys_posttrain.types import Targets

EVENTS_AT_A_TIME = 2**16  # of [events, R]


@torch.inference_mode()
def expected_unseen(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    state_NR: Tensor,
    factor_VR: Tensor,
    targets: Targets,
    chunk: int | None = None,
) -> Tensor:
    """E[state_n . factor_v] for v ~ softmax(state_n . table) over the items that may be shown at
    target n (data/repeats.py), exactly, [N], float64 on the CPU; NaN where there is none.

    hidden_ND, item_embedding_VD: of the policy. state_NR, factor_VR: of the reward.
    """
    value_N = torch.empty(len(hidden_ND), dtype=torch.float64)
    state_NR, num_items = state_NR.double(), len(factor_VR)
    parts = item_slices(num_items)
    only_VR = factor_VR.double() if len(parts) == 1 else None
    # In float64, logits and probabilities take as much as four float32 numbers an item; half of it.
    step = max(1, LARGEST_BUFFER // (8 * num_items))
    for rows, score_nV, seen in score_chunks(
        hidden_ND, item_embedding_VD, None, removed_for(targets), chunk
    ):
        leave_out(score_nV, seen)
        for first in range(0, len(score_nV), step):
            pi_nV = score_nV[first : first + step].double().softmax(dim=1).cpu()
            mean_nR = torch.zeros(len(pi_nV), factor_VR.shape[1], dtype=torch.float64)
            for part in parts:
                mean_nR += pi_nV[:, part] @ (
                    factor_VR[part].double() if only_VR is None else only_VR
                )
            here = slice(rows.start + first, rows.start + first + len(pi_nV))
            value_N[here] = (mean_nR * state_NR[here]).sum(dim=1)
    return value_N


def mean_where_shown(state_NR: Tensor, factor_VR: Tensor, targets: Targets) -> Tensor:
    """The mean of state_n . factor_v over the targets at which item v may be shown, [V], float64;
    the lowest of all means where it never is."""
    removed_E, offsets_N1, never_shown_M, _, windows, times_N, regions_N = removed_for(targets)
    row_E, num_items = torch.repeat_interleave(offsets_N1.diff()), len(factor_VR)
    pair_E = torch.unique(row_E * num_items + removed_E - 1)  # an item may be there twice
    if windows is not None:  # below, what is closed is taken off once
        assert times_N is not None
        when_E = times_N[pair_E // num_items], rows_of(regions_N, pair_E // num_items)
        pair_E = pair_E[~windows.closed_items(pair_E % num_items + 1, *when_E)]
    # Of all targets, less those where the item is not shown: events at a time, [events, R].
    total_V = factor_VR.double() @ state_NR.double().sum(dim=0)
    count_V = len(state_NR) - torch.bincount(pair_E % num_items, minlength=num_items)
    for pair_C in torch.split(pair_E, EVENTS_AT_A_TIME):
        item_C = pair_C % num_items
        reward_C = (state_NR[pair_C // num_items] * factor_VR[item_C]).double().sum(dim=1)
        total_V.index_add_(0, item_C, -reward_C)
    if windows is not None and times_N is not None:
        column_U = windows.items_U - 1
        for rows in torch.arange(len(state_NR)).split(positions_per_chunk(len(column_U))):
            regions_C = rows_of(regions_N, rows)
            closed_UC = windows.closed(times_N[rows], regions_N=regions_C).T.double()
            lost_UR = closed_UC @ state_NR[rows].double()
            total_V[column_U] -= (factor_VR[column_U].double() * lost_UR).sum(dim=1)
            count_V[column_U] -= closed_UC.sum(dim=1).long()
    if never_shown_M is not None:
        count_V[never_shown_M - 1] = 0
    mean_V = (total_V / count_V.clamp(min=1)).masked_fill(count_V <= 0, torch.inf)
    return mean_V.where(count_V > 0, mean_V.min()).nan_to_num(posinf=0.0)
