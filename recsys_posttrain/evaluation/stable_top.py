"""The best items of each row, ties in the order of the catalogue.

Letters: n rows; S items of a group, G groups.
"""

import math

import torch
from torch import Tensor


def stable_top(score_nV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`topk` with equal scores in index order; only rows with a tie at the cut are fully sorted.

    The K = k + 1 best scores stand in the K groups with the highest maxima; group g of G has items
    g, g + G and so on. What the groups leave over are candidates too.
    """
    num_items = score_nV.shape[1]
    most = min(k + 1, num_items)
    size = math.isqrt(num_items // most)  # the fewest maxima and candidates together
    groups = num_items // size
    in_groups_nSG = score_nV[:, : size * groups].unflatten(1, (size, groups))
    group_nK = in_groups_nSG.amax(dim=1).topk(most, dim=1, sorted=False)[1]
    first_S1 = torch.arange(0, size * groups, groups, device=score_nV.device)[:, None]
    rest = torch.arange(size * groups, num_items, device=score_nV.device)
    candidate_nC = torch.cat(
        [(group_nK[:, None] + first_S1).flatten(1), rest.expand(len(score_nV), -1)], dim=1
    )
    index_nK = candidate_nC.gather(
        1, score_nV.gather(1, candidate_nC).topk(most, dim=1, sorted=False)[1]
    )
    index_nK = index_nK.sort(dim=1)[0]
    score_nK, order_nK = score_nV.gather(1, index_nK).sort(dim=1, descending=True, stable=True)
    index_nK = index_nK.gather(1, order_nK)
    if most > k:
        tied_n = score_nK[:, k - 1] == score_nK[:, k]
        if tied_n.any():
            index_nK[tied_n] = torch.sort(score_nV[tied_n], dim=1, descending=True, stable=True)[1][
                :, :most
            ]
    return score_nK[:, :k], index_nK[:, :k]
