"""Several logs as one: that of yesterday, on which a policy was trained, and that of today.

pandas is imported inside functions: the command line imports this package and must start fast.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.data.propensity import PROPENSITY
from recsys_posttrain.data.regions import REGION
from recsys_posttrain.data.signals import is_signal
from recsys_posttrain.data.table_file import EVENT

if TYPE_CHECKING:
    import pandas as pd

    from recsys_posttrain.types import Interactions


@dataclass(frozen=True, eq=False)
class Loaded:
    """Interactions as a Dataset."""

    interactions: Interactions

    @property
    def name(self) -> str:
        return self.interactions.name

    def content_hash(self) -> str:
        return self.interactions.content_hash

    def load(self) -> Interactions:
        return self.interactions


@dataclass(frozen=True)
class JoinedLogs:
    """Logs of the same items, the older first. An event (user, item and time) that several hold is
    one event, with what the newest of them says of it."""

    logs: tuple[Dataset, ...]

    @property
    def name(self) -> str:
        return f"{self.logs[0].name}+{self.logs[-1].name}"

    def content_hash(self) -> str:
        return reduce(_hash_of, [log.content_hash() for log in self.logs])

    def load(self) -> Interactions:
        return reduce(joined, [log.load() for log in self.logs])


def _hash_of(older: str, newer: str) -> str:
    return hashlib.sha256(f"{older} {newer}".encode()).hexdigest()


def joined(older: Interactions, newer: Interactions) -> Interactions:
    """Both as one log. A column that one of them lacks (a signal, a propensity, a region) is left
    out, and so are impressions that one of them does not know."""
    import pandas as pd

    from recsys_posttrain.types import Interactions

    ticks = max(older.ticks_per_second, newer.ticks_per_second)
    both = older, newer
    columns = [name for name in older.frame if name in newer.frame]
    frames = [_alike(each, each.frame[columns], ticks, both) for each in both]
    frame = pd.concat(frames, ignore_index=True)
    frame = frame[~frame.duplicated(EVENT, keep="last")].reset_index(drop=True)
    shown = None
    if older.shown is not None and newer.shown is not None:
        parts = [
            _alike(log, part, ticks, both)
            for log, part in ((older, older.shown), (newer, newer.shown))
        ]
        shown = pd.concat(parts, ignore_index=True).drop_duplicates(ignore_index=True)
    return Interactions(
        name=f"{older.name}+{newer.name}",
        frame=frame,
        content_hash=_hash_of(older.content_hash, newer.content_hash),
        ticks_per_second=ticks,
        has_ratings=older.has_ratings and newer.has_ratings,
        shown=shown,
    )


def lost_columns(older: Interactions, newer: Interactions) -> list[str]:
    """What `joined` leaves out, by name: what one of them lacks."""
    one, other = set(map(str, older.frame)), set(map(str, newer.frame))
    return sorted(name for name in one ^ other if is_signal(name) or name in (PROPENSITY, REGION))


def _alike(
    log: Interactions, frame: pd.DataFrame, ticks: int, both: tuple[Interactions, ...]
) -> pd.DataFrame:
    """With times in these ticks, and ids as text where one log has text."""
    changed = {"timestamp": frame["timestamp"] * (ticks // log.ticks_per_second)}
    for name in ("user_id", "item_id"):
        if len({each.frame[name].dtype for each in both}) > 1:
            changed[name] = frame[name].astype(str)
    return frame.assign(**changed)
