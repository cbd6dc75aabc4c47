"""Which given items a policy may not show."""

import torch
from torch import Tensor

from recsys_posttrain.eligibility import Excluded


def is_excluded(excluded: Excluded | None, items_NK: Tensor) -> Tensor:
    """Whether an item, other than the position's own action, is not eligible there, bool [N, K]."""
    found_NK = torch.zeros_like(items_NK, dtype=torch.bool)
    if excluded is None:
        return found_NK
    row_E = torch.arange(len(items_NK), device=items_NK.device).repeat_interleave(
        excluded.offsets_N1.diff()
    )
    first, last = int(excluded.offsets_N1[0]), int(excluded.offsets_N1[-1])
    for found_N, items_N in zip(found_NK.unbind(1), items_NK.unbind(1), strict=True):
        found_N[row_E[excluded.items_E[first:last] == items_N[row_E]]] = True
    if excluded.everywhere_M is not None:
        found_NK |= torch.isin(items_NK, excluded.everywhere_M)
    if excluded.windows is not None and excluded.times_N is not None:
        times_NK = excluded.times_N[:, None].expand_as(items_NK)
        regions_M = None
        if excluded.regions_N is not None:
            regions_M = excluded.regions_N[:, None].expand_as(items_NK).flatten()
        asked = items_NK.flatten(), times_NK.flatten(), regions_M
        closed = excluded.windows.closed_items(*asked)
        found_NK |= closed.view_as(found_NK)
    return found_NK
