"""Pairs for DPO, IPO and their like from what a log says was shown: chosen against not chosen.

No reward model is asked. A pair holds no item that the policy may not show (`Batch.excluded`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.pairs import Pairs
from recsys_posttrain.config import require
from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.types import Batch


@dataclass(frozen=True)
class ShownPairs:
    """The logged item, and one drawn evenly from those that were shown with it and not chosen."""

    @torch.no_grad()
    def __call__(self, batch: Batch, actors: Actors) -> Pairs:
        shown, chosen_N = batch.shown, batch.action_N
        require(
            shown is not None,
            "ShownPairs: the log does not say what was shown and not chosen (a column chosen of 0 "
            "and 1); take SampledPairs or LoggedVersusSampled.",
        )
        assert shown is not None
        count_N = shown.counts
        uniform_N = torch.rand(len(count_N), generator=actors.generator, dtype=torch.float64)
        place_N = (
            (uniform_N.to(count_N.device) * count_N).long().minimum((count_N - 1).clamp(min=0))
        )
        index_N = (shown.offsets_E1[:-1] + place_N).clamp(max=max(0, len(shown.items_S) - 1))
        has_N = count_N > 0
        rejected_N = chosen_N
        if len(shown.items_S):
            rejected_N = torch.where(has_N, shown.items_S[index_N], chosen_N)
        kept_N = (rejected_N != chosen_N) & ~is_excluded(batch.excluded, rejected_N)
        return Pairs(chosen_N, rejected_N, kept_N)


def is_excluded(excluded: Excluded | None, items_N: Tensor) -> Tensor:
    """Whether each position's item, other than its own action, is not eligible there, bool [N]."""
    found_N = torch.zeros_like(items_N, dtype=torch.bool)
    if excluded is None:
        return found_N
    row_E = torch.arange(len(items_N), device=items_N.device).repeat_interleave(
        excluded.offsets_N1.diff()
    )
    first, last = int(excluded.offsets_N1[0]), int(excluded.offsets_N1[-1])
    same_E = excluded.items_E[first:last] == items_N[row_E]
    found_N[row_E[same_E]] = True
    if excluded.everywhere_M is not None:
        found_N |= torch.isin(items_N, excluded.everywhere_M)
    return found_N
