"""Yambda: who listened to which track, how far (A. Ploshkin and others, 2025, arXiv 2505.22238).

Layout of the download, for the sizes 50m, 500m and 5b; the folder "sequential" is not read:

    flat/50m/listens.parquet    uid, item_id, timestamp (seconds since an unknown start, in steps of
                                5), is_organic (0: recommended), played_ratio_pct,
                                track_length_seconds; sorted by uid and timestamp

Only the columns that are named are read. The smallest size has 46 million rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from recsys_posttrain.data.published import hash_of, loaded, published_file
from recsys_posttrain.data.table_file import RatingsFile

if TYPE_CHECKING:
    from recsys_posttrain.types import Interactions

Size = Literal["50m", "500m", "5b"]
URL = "https://huggingface.co/datasets/yandex/yambda"


@dataclass(frozen=True)
class Yambda:
    """Listens, and the share of the track that was played. reward, signals: formulas of the columns
    above. What was played again within a track counts as all of it."""

    size: Size = "50m"
    reward: str = "clip(played_ratio_pct / 100, 0, 1)"
    signals: str = "organic=is_organic"
    data_root: str | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return f"yambda-{self.size}"

    def content_hash(self) -> str:
        return hash_of(self._log, self)

    def load(self) -> Interactions:
        return loaded(self._log, self)

    @property
    def _log(self) -> RatingsFile:
        names = [f"flat/{self.size}/listens.parquet", f"{self.size}/listens.parquet"]
        path = published_file(self.name, URL, self.data_root, [*names, "listens.parquet"])
        return RatingsFile(
            path,
            duplicates="first",  # times are in steps of 5 seconds
            reward=self.reward,
            signals=self.signals,
            columns="user=uid",
        )
