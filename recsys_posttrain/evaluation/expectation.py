"""E_pi[r] over the items that may be shown, for any reward that is a product of factors."""

import torch
from torch import Tensor

from recsys_posttrain.data.repeats import removed_items
from recsys_posttrain.evaluation.ranking import score_chunks
from recsys_posttrain.types import Targets


@torch.inference_mode()
def expected_unseen(
    states_ND: Tensor,
    table_VD: Tensor,
    state_NR: Tensor,
    factor_VR: Tensor,
    targets: Targets,
    chunk: int = 512,
) -> Tensor:
    """E[state_n . factor_v] for v ~ softmax(state_n . table) over the items that may be shown at
    target n (data/repeats.py), exactly, [N], float64 on the CPU; NaN where there is none.

    states_ND, table_VD: of the policy. state_NR, factor_VR: of the reward.
    """
    value_N = torch.empty(len(states_ND), dtype=torch.float64)
    factor_VR, state_NR = factor_VR.double(), state_NR.double()
    seen = removed_items(targets.history, targets.repeats)
    for rows, score_nV, seen_index in score_chunks(states_ND, table_VD, None, *seen, chunk):
        score_nV.view(-1)[seen_index] = -torch.inf
        mean_nR = score_nV.double().softmax(dim=1).cpu() @ factor_VR
        value_N[rows] = (mean_nR * state_NR[rows]).sum(dim=1)
    return value_N
