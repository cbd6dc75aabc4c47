"""Which items a policy may show: it is a softmax over these, in training as in evaluation."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from recsys_posttrain.windows import Windows

# What a policy is a softmax over: "eligible" is what may be shown, "all" the whole catalogue, as an
# ablation. Where users choose items again, everything may be shown that is not masked.
Catalogue = Literal["eligible", "all"]


class Excluded(NamedTuple):
    """Items that are not eligible at each of N positions. Row n excludes
    items_E[offsets_N1[n] : offsets_N1[n + 1]], where an item may stand twice,
    everywhere_M, as every row does (M numbers, not [N, M]),
    what `windows` close at times_N[n] in regions_N[n];
    but the last two never exclude but_N[n], the logged item."""

    items_E: Tensor  # int64, 1..V
    offsets_N1: Tensor  # int64
    everywhere_M: Tensor | None = None  # int64, 1..V, each once
    but_N: Tensor | None = None  # int64, 1..V
    windows: Windows | None = None
    times_N: Tensor | None = None  # int64, seconds; where there are windows
    regions_N: Tensor | None = None  # int64, codes; where these are by region

    def to(self, device: torch.device | None) -> "Excluded":
        fields = {
            name: each.to(device) for name, each in self._asdict().items() if each is not None
        }
        return Excluded(**fields)

    def rows(self, rows: slice) -> "Excluded":
        """Of consecutive rows, without a copy."""
        offsets_N1 = self.offsets_N1[rows.start : rows.stop + 1]
        return self._of_rows(rows)._replace(offsets_N1=offsets_N1)

    def every(self, step: int) -> "Excluded":
        """Of the rows 0, step, 2 step and so on."""
        length_N = self.offsets_N1.diff()
        found = excluded_spans(self.items_E, self.offsets_N1[:-1][::step], length_N[::step])
        rows = self._of_rows(slice(None, None, step))
        return rows._replace(items_E=found.items_E, offsets_N1=found.offsets_N1)

    def _of_rows(self, rows: slice) -> "Excluded":
        """With what stays, the time and the region of these rows alone."""
        own = (None if each is None else each[rows] for each in (self.but_N, *self[5:]))
        but_N, times_N, regions_N = own
        return self._replace(but_N=but_N, times_N=times_N, regions_N=regions_N)


def excluded_spans(items_E: Tensor, start_N: Tensor, length_N: Tensor) -> Excluded:
    """Row n excludes items_E[start_N[n] : start_N[n] + length_N[n]]; spans may overlap."""
    offsets_N1 = torch.cat([length_N.new_zeros(1), length_N.cumsum(dim=0)])
    total = int(offsets_N1[-1])
    index_E = (start_N - offsets_N1[:-1]).repeat_interleave(length_N, output_size=total)
    index_E += torch.arange(total, device=index_E.device)
    return Excluded(items_E.index_select(0, index_E), offsets_N1)


def leave_out(
    values_CV: Tensor,
    excluded_C: Excluded | None,
    value: float = -math.inf,
    first: int | None = None,
) -> Tensor:
    """`values_CV` with those of excluded items overwritten by `value`, in place.

    first: column 0 is of item `first` + 1, and not all items have one; None: the whole catalogue.
    """
    if excluded_C is None:
        return values_CV
    rows, columns = values_CV.shape
    start, stop = int(excluded_C.offsets_N1[0]), int(excluded_C.offsets_N1[-1])

    def columns_of(items_E: Tensor) -> tuple[Tensor, Tensor | None]:
        """The column of each item, and whether it is here; None: all are."""
        column_E = items_E.to(values_CV.device) - (1 + (first or 0))
        return column_E, None if first is None else (column_E >= 0) & (column_E < columns)

    length_C = excluded_C.offsets_N1.diff().to(values_CV.device)
    row_C = torch.arange(rows, device=values_CV.device)
    place_E = (row_C * columns).repeat_interleave(length_C, output_size=stop - start)
    column_E, is_here_E = columns_of(excluded_C.items_E[start:stop])
    values_CV.view(-1).index_fill_(0, _those(place_E.add_(column_E), is_here_E), value)
    if excluded_C.everywhere_M is None and excluded_C.windows is None:
        return values_CV
    own = None
    if excluded_C.but_N is not None:
        column_C, is_here_C = columns_of(excluded_C.but_N)
        own = _those(row_C, is_here_C), _those(column_C, is_here_C)
        kept_C = values_CV[own]
    if excluded_C.everywhere_M is not None:
        values_CV.index_fill_(1, _those(*columns_of(excluded_C.everywhere_M)), value)
    if excluded_C.windows is not None and excluded_C.times_N is not None:
        windows = excluded_C.windows.to(values_CV.device)
        windows = windows if first is None else windows.within(first, columns)
        times_C, regions_C = excluded_C.times_N.to(values_CV.device), excluded_C.regions_N
        regions_C = regions_C if regions_C is None else regions_C.to(values_CV.device)
        windows.leave_out(values_CV, times_C, value, regions_C)
    if own is not None:
        values_CV[own] = kept_C
    return values_CV


def _those(values_E: Tensor, chosen_E: Tensor | None) -> Tensor:
    return values_E if chosen_E is None else values_E[chosen_E]
