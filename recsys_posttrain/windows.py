"""When items may be shown: from a time on, until a time, and in which regions. An item without a
window always may.

U items with windows, L windows of the one that has most, S of the items that a region names.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

COLUMNS = 2**12  # of a chunk at a time, so that no copy is as large as the chunk
EVER = torch.iinfo(torch.int64).max
NOWHERE = 0  # the code of an event whose region the log does not say


def region_code(name: str) -> int:
    """A number for a region, the same in each log: 63 bits of SHA-256 of its name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 1


class Region(NamedTuple):
    """The windows of items in one region, which hold beside those that hold in all."""

    name: str
    code: int
    windows: "Windows"


class Windows(NamedTuple):
    """Item items_U[u] may be shown at t where from_LU[l, u] <= t < until_LU[l, u] for some l, and
    in a region where the windows of that region say so too."""

    items_U: Tensor  # int64, 1..V, ascending, each once
    from_LU: Tensor  # int64, seconds
    until_LU: Tensor  # int64, seconds; of one that an item does not have, its `from`
    regions: tuple[Region, ...] = ()  # whose items are among items_U

    def to(self, device: torch.device | None) -> "Windows":
        items_U, from_LU, until_LU = (each.to(device) for each in self[:3])
        return Windows(items_U, from_LU, until_LU, self._each(lambda own: own.to(device)))

    def closed(
        self, times_N: Tensor, part: slice = slice(None), regions_N: Tensor | None = None
    ) -> Tensor:
        """Whether the items of a part of U may not be shown at these times, bool [N, U].

        regions_N: the code of each row's region; windows without regions do not ask for it."""
        times_N1 = times_N[:, None]
        closed_NU: Tensor | None = None
        for from_U, until_U in zip(self.from_LU[:, part], self.until_LU[:, part], strict=True):
            outside_NU = (times_N1 < from_U) | (times_N1 >= until_U)
            closed_NU = outside_NU if closed_NU is None else closed_NU.logical_and_(outside_NU)
        assert closed_NU is not None
        items_U = self.items_U[part]
        for rows_K, own in self._of_rows(regions_N):
            low, high = _bounds(own.items_U, int(items_U[0]), int(items_U[-1]) + 1)
            place_S = torch.searchsorted(items_U, own.items_U[low:high])
            is_closed_KS = own.closed(times_N[rows_K], slice(low, high))
            closed_NU[rows_K[:, None], place_S] &= is_closed_KS
        return closed_NU

    def closed_items(
        self, items_N: Tensor, times_N: Tensor, regions_N: Tensor | None = None
    ) -> Tensor:
        """Whether each item may not be shown at its time in its region, bool [N]."""
        has_window_N, is_open_N = self._found(items_N, times_N)
        for rows_K, own in self._of_rows(regions_N):
            has_own_K, is_open_K = own._found(items_N[rows_K], times_N[rows_K])
            is_open_N[rows_K] |= has_own_K & is_open_K
        return has_window_N & ~is_open_N

    def _found(self, items_N: Tensor, times_N: Tensor) -> tuple[Tensor, Tensor]:
        """Which items have a window, and whether one is open then; of others it says nothing."""
        place_N = torch.searchsorted(self.items_U, items_N).clamp(max=len(self.items_U) - 1)
        from_LN, until_LN = self.from_LU[:, place_N], self.until_LU[:, place_N]
        is_open_N = ((times_N >= from_LN) & (times_N < until_LN)).any(dim=0)
        return self.items_U[place_N] == items_N, is_open_N

    def _of_rows(self, regions_N: Tensor | None) -> Iterator[tuple[Tensor, "Windows"]]:
        """Of each region that rows are in, these rows and its windows."""
        if not self.regions:
            return
        if regions_N is None:
            raise ValueError("windows by region ask for the region of each row")
        windows_of_code = {code: windows for _, code, windows in self.regions}
        for code in regions_N.unique().tolist():
            if code in windows_of_code:
                yield (regions_N == code).nonzero().squeeze(1), windows_of_code[code]

    def leave_out(
        self, values_CV: Tensor, times_C: Tensor, value: float, regions_C: Tensor | None = None
    ) -> None:
        """Overwrites what may not be shown at these times and in these regions, in place."""
        for start in range(0, len(self.items_U), COLUMNS):
            part = slice(start, start + COLUMNS)
            column_U = self.items_U[part] - 1
            found_CU = values_CV[:, column_U]
            closed_CU = self.closed(times_C, part, regions_C)
            values_CV[:, column_U] = found_CU.masked_fill_(closed_CU, value)

    def within(self, first: int, count: int) -> "Windows":
        """Of `count` items from item `first` + 1 on, which are then numbered from 1."""
        part = slice(*_bounds(self.items_U, first + 1, first + 1 + count))
        regions = self._each(lambda own: own.within(first, count))
        return Windows(
            self.items_U[part] - first, self.from_LU[:, part], self.until_LU[:, part], regions
        )

    def numbered(self, number_V1: Tensor) -> "Windows | None":
        """In another numbering, without the items that have no number (0) there; None: none has."""
        number_U = number_V1[self.items_U]
        order_U = number_U.argsort()[int((number_U == 0).sum()) :]
        if not len(order_U):
            return None
        regions = self._each(lambda own: own.numbered(number_V1))
        return Windows(
            number_U[order_U], self.from_LU[:, order_U], self.until_LU[:, order_U], regions
        )

    def repeated(self, copies_of: Callable[[Tensor], Tensor], count_V1: Tensor) -> "Windows | None":
        """With copies in place of the items: count_V1[v] of item v, which copies_of numbers, those
        of one item in a row; None: no item has one."""
        count_U, items_W = count_V1[self.items_U], copies_of(self.items_U)
        if not len(items_W):
            return None
        from_LW, until_LW = (
            each.repeat_interleave(count_U, dim=1) for each in (self.from_LU, self.until_LU)
        )
        regions = self._each(lambda own: own.repeated(copies_of, count_V1))
        return Windows(items_W, from_LW, until_LW, regions)

    def _each(self, change: Callable[["Windows"], "Windows | None"]) -> tuple[Region, ...]:
        changed = ((name, code, change(windows)) for name, code, windows in self.regions)
        return tuple(Region(name, code, own) for name, code, own in changed if own is not None)


def windows_of(
    items_W: Tensor, from_W: Tensor, until_W: Tensor, names_W: np.ndarray | None = None
) -> Windows:
    """Of rows, each one window of an item, in the region of that name; "": in all."""
    if names_W is None or not (names_W != "").any():
        return _dense(items_W, from_W, until_W)
    names, place_W, count_R = np.unique(
        np.asarray(names_W, dtype=str), return_inverse=True, return_counts=True
    )
    rows = torch.from_numpy(place_W.argsort(kind="stable")).split(count_R.tolist())
    found = {
        name: tuple(each[rows_K] for each in (items_W, from_W, until_W))
        for name, rows_K in zip(names.tolist(), rows, strict=True)
    }
    # Of an item that only regions open, a window that is never open holds everywhere else.
    of_all = found.pop("", (items_W[:0], from_W[:0], until_W[:0]))
    only_U = items_W[~torch.isin(items_W, of_all[0])].unique()
    never = only_U, torch.full_like(only_U, EVER), torch.full_like(only_U, EVER)
    everywhere = _dense(*(torch.cat(both) for both in zip(of_all, never, strict=True)))
    regions = (Region(name, region_code(name), _dense(*each)) for name, each in found.items())
    return everywhere._replace(regions=tuple(regions))


def _bounds(items_U: Tensor, first: int, end: int) -> tuple[int, int]:
    """Where the items from `first` on, and below `end`, begin and end."""
    low, high = (int(torch.searchsorted(items_U, item)) for item in (first, end))
    return low, high


def _dense(items_W: Tensor, from_W: Tensor, until_W: Tensor) -> Windows:
    order_W = items_W.argsort(stable=True)
    items_U, count_U = items_W[order_W].unique_consecutive(return_counts=True)
    column_W = torch.arange(len(items_U)).repeat_interleave(count_U)
    layer_W = torch.arange(len(items_W)) - (count_U.cumsum(0) - count_U)[column_W]
    from_LU = torch.full((int(count_U.max()), len(items_U)), EVER)
    until_LU = from_LU.clone()
    from_LU[layer_W, column_W], until_LU[layer_W, column_W] = from_W[order_W], until_W[order_W]
    return Windows(items_U, from_LU, until_LU)
