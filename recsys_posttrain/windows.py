"""When items may be shown: from a time on, until a time. An item without a window always may.

U items with windows, L windows of the one that has most.
"""

from typing import NamedTuple

import torch
from torch import Tensor

COLUMNS = 2**12  # of a chunk at a time, so that no copy is as large as the chunk
EVER = torch.iinfo(torch.int64).max


class Windows(NamedTuple):
    """Item items_U[u] may be shown at t where from_LU[l, u] <= t < until_LU[l, u] for some l."""

    items_U: Tensor  # int64, 1..V, ascending, each once
    from_LU: Tensor  # int64, seconds
    until_LU: Tensor  # int64, seconds; of one that an item does not have, its `from`

    def to(self, device: torch.device | None) -> "Windows":
        return Windows(*(each.to(device) for each in self))

    def closed(self, times_N: Tensor, part: slice = slice(None)) -> Tensor:
        """Whether the items of a part of U may not be shown at these times, bool [N, U]."""
        times_N1 = times_N[:, None]
        closed_NU: Tensor | None = None
        for from_U, until_U in zip(self.from_LU[:, part], self.until_LU[:, part], strict=True):
            outside_NU = (times_N1 < from_U) | (times_N1 >= until_U)
            closed_NU = outside_NU if closed_NU is None else closed_NU.logical_and_(outside_NU)
        assert closed_NU is not None
        return closed_NU

    def closed_items(self, items_N: Tensor, times_N: Tensor) -> Tensor:
        """Whether each item may not be shown at its time, bool [N]."""
        place_N = torch.searchsorted(self.items_U, items_N).clamp(max=len(self.items_U) - 1)
        from_LN, until_LN = self.from_LU[:, place_N], self.until_LU[:, place_N]
        is_open_N = ((times_N >= from_LN) & (times_N < until_LN)).any(dim=0)
        has_window_N: Tensor = self.items_U[place_N] == items_N
        return has_window_N & ~is_open_N

    def leave_out(self, values_CV: Tensor, times_C: Tensor, value: float) -> None:
        """Overwrites what may not be shown at these times, in place."""
        for start in range(0, len(self.items_U), COLUMNS):
            part = slice(start, start + COLUMNS)
            column_U = self.items_U[part] - 1
            found_CU = values_CV[:, column_U]
            values_CV[:, column_U] = found_CU.masked_fill_(self.closed(times_C, part), value)

    def within(self, first: int, count: int) -> "Windows":
        """Of `count` items from item `first` + 1 on, which are then numbered from 1."""
        low, high = (int(torch.searchsorted(self.items_U, first + 1 + n)) for n in (0, count))
        part = slice(low, high)
        return Windows(self.items_U[part] - first, self.from_LU[:, part], self.until_LU[:, part])

    def numbered(self, number_V1: Tensor) -> "Windows | None":
        """In another numbering, without the items that have no number (0) there; None: none has."""
        number_U = number_V1[self.items_U]
        order_U = number_U.argsort()[int((number_U == 0).sum()) :]
        if not len(order_U):
            return None
        return Windows(number_U[order_U], self.from_LU[:, order_U], self.until_LU[:, order_U])

    def repeated(self, items_W: Tensor, count_U: Tensor) -> "Windows":
        """Of items_W, count_U[u] in a row with the windows of item u."""
        parts = (each.repeat_interleave(count_U, dim=1) for each in (self.from_LU, self.until_LU))
        return Windows(items_W, *parts)


def windows_of(items_W: Tensor, from_W: Tensor, until_W: Tensor) -> Windows:
    """Of rows, each one window of an item."""
    order_W = items_W.argsort(stable=True)
    items_U, count_U = items_W[order_W].unique_consecutive(return_counts=True)
    column_W = torch.arange(len(items_U)).repeat_interleave(count_U)
    layer_W = torch.arange(len(items_W)) - (count_U.cumsum(0) - count_U)[column_W]
    from_LU = torch.full((int(count_U.max()), len(items_U)), EVER)
    until_LU = from_LU.clone()
    from_LU[layer_W, column_W], until_LU[layer_W, column_W] = from_W[order_W], until_W[order_W]
    return Windows(items_U, from_LU, until_LU)
