"""Which items a policy may show: it is a softmax over these, in training as in evaluation."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

# What a policy is a softmax over: "eligible" is what may be shown, "all" the whole catalogue, as an
# ablation. Where users choose items again, everything may be shown.
Catalogue = Literal["eligible", "all"]


class Excluded(NamedTuple):
    """Items that are not eligible: row n excludes items_E[offsets_N1[n] : offsets_N1[n + 1]].

    An item may stand there twice.
    """

    items_E: Tensor  # int64, 1..V
    offsets_N1: Tensor  # int64

    def to(self, device: torch.device | None) -> "Excluded":
        return Excluded(self.items_E.to(device), self.offsets_N1.to(device))

    def rows(self, rows: slice) -> "Excluded":
        """Of consecutive rows, without a copy."""
        return Excluded(self.items_E, self.offsets_N1[rows.start : rows.stop + 1])

    def every(self, step: int) -> "Excluded":
        """Of the rows 0, step, 2 step and so on."""
        length_N = self.offsets_N1.diff()
        return excluded_spans(self.items_E, self.offsets_N1[:-1][::step], length_N[::step])


def excluded_spans(items_E: Tensor, start_N: Tensor, length_N: Tensor) -> Excluded:
    """Row n excludes items_E[start_N[n] : start_N[n] + length_N[n]]; spans may overlap."""
    offsets_N1 = torch.cat([length_N.new_zeros(1), length_N.cumsum(dim=0)])
    total = int(offsets_N1[-1])
    index_E = (start_N - offsets_N1[:-1]).repeat_interleave(length_N, output_size=total)
    index_E += torch.arange(total, device=index_E.device)
    return Excluded(items_E.index_select(0, index_E), offsets_N1)


def leave_out(values_CV: Tensor, excluded_C: Excluded | None, value: float = -math.inf) -> Tensor:
    """`values_CV` with those of excluded items overwritten by `value`, in place."""
    if excluded_C is None:
        return values_CV
    rows, num_items = values_CV.shape
    first, last = int(excluded_C.offsets_N1[0]), int(excluded_C.offsets_N1[-1])
    length_C = excluded_C.offsets_N1.diff().to(values_CV.device)
    before_C = torch.arange(rows, device=values_CV.device) * num_items - 1
    place_E = before_C.repeat_interleave(length_C, output_size=last - first)
    place_E += excluded_C.items_E[first:last].to(values_CV.device)
    values_CV.view(-1).index_fill_(0, place_E, value)
    return values_CV
