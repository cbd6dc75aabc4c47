"""KuaiRec: what users of a video app watched.

C. Gao and others, 2022, doi 10.1145/3511808.3557220.

Layout of the download (version 2.0), of which two files are read, with the same columns:

    KuaiRec 2.0/data/big_matrix.csv      what the app showed: 12,530,806 rows
    KuaiRec 2.0/data/small_matrix.csv    1,411 users with 3,327 videos, 99.6% of all pairs

    user_id, video_id, play_duration (ms), video_duration (ms), time, date, timestamp (seconds),
    watch_ratio (play_duration / video_duration, without an upper end)

The full matrix is a world: worlds/full_matrix.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recsys_posttrain.data.published import hash_of, loaded, published_file
from recsys_posttrain.data.table_file import RatingsFile

if TYPE_CHECKING:
    from recsys_posttrain.types import Interactions

URL = "https://kuairec.com"


@dataclass(frozen=True)
class KuaiRec:
    """What the app showed and how much of it was watched. reward, signals: formulas of the columns
    above (expression.py). By default a video watched twice or more often counts as twice."""

    reward: str = "clip(watch_ratio, 0, 2)"
    signals: str = "seconds=play_duration/1000"
    data_root: str | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return "kuairec"

    def content_hash(self) -> str:
        return hash_of(self._log, self)

    def load(self) -> Interactions:
        return loaded(self._log, self)

    @property
    def _log(self) -> RatingsFile:
        path = published_file(self.name, URL, self.data_root, ["big_matrix.csv"])
        return RatingsFile(
            path,
            duplicates="first",  # some rows are there twice
            reward=self.reward,
            signals=self.signals,
            columns="item=video_id",
        )
