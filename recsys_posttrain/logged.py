"""A log as its file gives it, and signals: what it says of each event beside its reward, such as a
click or seconds watched."""

from dataclasses import dataclass
from typing import TypeVar

import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain.eligibility import excluded_spans
from recsys_posttrain.errors import UserError, did_you_mean, nearest


@dataclass(frozen=True, eq=False)
class Interactions:
    """Raw ratings as a dataset file gives them, in file order.

    name: of the dataset.
    frame: columns user_id, item_id, rating (float), timestamp (int, ticks since 1970), and, where
        the log knows it, propensity (float): the probability, above 0, with which what wrote the
        log chose this item for this user then; region (data/regions.py), where the user was then;
        and signals (data/signals.py).
    content_hash: SHA-256 of the bytes that the ratings were read from.
    ticks_per_second: 1, or 10**9 where times have fractions of a second. Events are ordered by
        ticks; models read `seconds`.
    has_ratings: whether the file has ratings; otherwise every rating is 1.
    shown: columns user_id, item_id, timestamp of what was shown and not chosen; None: not known.
    """

    name: str
    frame: pd.DataFrame
    content_hash: str
    ticks_per_second: int = 1
    has_ratings: bool = True
    shown: pd.DataFrame | None = None

    @property
    def seconds(self) -> pd.Series:
        return self.frame["timestamp"] // self.ticks_per_second


@dataclass(frozen=True, eq=False)
class Signals:
    """S numbers of each event, in stars of the signal's own scale (`Corpus.signal_scales`).

    values: float32, [..., S], in the order of the names.
    """

    names: tuple[str, ...]
    values: Tensor

    def __getitem__(self, index: Tensor) -> "Signals":
        """Of these events."""
        return Signals(self.names, self.values[index])

    def to(self, device: torch.device | None) -> "Signals":
        return Signals(self.names, self.values.to(device))

    def of(self, name: str) -> Tensor:
        """Raises: UserError for a signal that the log does not have."""
        check_signal(name, self.names)
        return self.values[..., self.names.index(name)]


def check_signal(name: str, names: tuple[str, ...]) -> None:
    """Raises: UserError where the log has no such signal."""
    if name not in names:
        has = f"it has {', '.join(names)}" if names else "it has none"
        raise UserError(
            f"the log has no signal {name!r} ({has}){did_you_mean(nearest(name, names))}; "
            f"name its column with --signals {name or 'NAME'}."
        )


@dataclass(frozen=True, eq=False)
class Shown:
    """What was shown with each event and not chosen: S items, those of event e at
    items_S[offsets_E1[e] : offsets_E1[e + 1]]; an item may stand twice."""

    items_S: Tensor  # int64, 1..V
    offsets_E1: Tensor  # int64
    # float32, as the log has them: places in the slate of the events, and of what was shown with
    # them; None: not known.
    positions_E: Tensor | None = None
    positions_S: Tensor | None = None

    def __getitem__(self, index: Tensor) -> "Shown":
        """Of these events."""
        place_S = torch.arange(len(self.items_S), device=self.items_S.device)
        place_S, offsets_E1 = excluded_spans(place_S, self.offsets_E1[index], self.counts[index])[
            :2
        ]
        return Shown(
            self.items_S[place_S],
            offsets_E1,
            rows_of(self.positions_E, index),
            rows_of(self.positions_S, place_S),
        )

    @property
    def counts(self) -> Tensor:
        """How many items each event has."""
        return self.offsets_E1.diff()

    def to(self, device: torch.device | None) -> "Shown":
        moved = (None if each is None else each.to(device) for each in vars(self).values())
        return Shown(*moved)  # type: ignore[arg-type]

    def numbered(self, number_V1: Tensor) -> "Shown":
        """In another numbering, without the items that have no number (0) there."""
        items_S = number_V1[self.items_S]
        is_kept_S = items_S > 0
        kept_S1 = torch.cat([items_S.new_zeros(1), is_kept_S.cumsum(0)])
        positions_S = rows_of(self.positions_S, is_kept_S)
        return Shown(items_S[is_kept_S], kept_S1[self.offsets_E1], self.positions_E, positions_S)


Rows = TypeVar("Rows", Tensor, Signals, Shown)


def rows_of(values_E: Rows | None, index_N: Tensor) -> Rows | None:
    """The values of these events; None where the log has none."""
    return None if values_E is None else values_E[index_N]
