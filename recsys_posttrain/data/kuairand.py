"""KuaiRand: impressions of a video app, and some whose video was drawn evenly from a pool.

C. Gao and others, 2022, doi 10.1145/3511808.3557624. Layout of the download, for the versions
"pure", "1k" and "27k" (the last in parts, _part1.csv and so on):

    data/log_standard_4_08_to_4_21_pure.csv, data/log_standard_4_22_to_5_08_pure.csv
    data/log_random_4_22_to_5_08_pure.csv    videos drawn evenly from a pool of 7,583

    user_id, video_id, date, hourmin, time_ms, is_click, is_like, is_follow, is_comment, is_forward,
    is_hate, long_view, play_time_ms, duration_ms, ..., is_rand, tab: one row per impression

S impressions without a click.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from recsys_posttrain.config import require
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.data.propensity import PROPENSITY
from recsys_posttrain.data.published import hash_of, loaded, published_file
from recsys_posttrain.data.signals import SIGNAL
from recsys_posttrain.data.table_file import RatingsFile

if TYPE_CHECKING:
    import pandas as pd

    from recsys_posttrain.types import Interactions

URL = "https://kuairand.com"
CLICK = "clicked"
Version = Literal["pure", "1k", "27k"]


@dataclass(frozen=True)
class KuaiRand:
    """Clicks of the app's own recommendations, and beside each what the user had passed over.

    An impression without a click is a negative of the user's next click, where that came within
    `patience` seconds; the others are left out, and counted. reward, signals: formulas.
    """

    version: Version = "pure"
    reward: str = "long_view"
    signals: str = "is_like, is_follow, is_hate, seconds=play_time_ms/1000"
    patience: int = 60
    data_root: str | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return f"kuairand-{self.version}"

    def content_hash(self) -> str:
        return hash_of(self._log, self)

    def load(self) -> Interactions:
        log = loaded(self._log, self)
        frame = log.frame.drop(columns=SIGNAL + CLICK)
        is_click_E = log.frame[SIGNAL + CLICK].to_numpy() == 1
        require(is_click_E.any(), f"{self.name}: no row is a click; give the original files.")
        clicks = frame[is_click_E].reset_index(drop=True)
        shown = _before_a_click(clicks, frame[~is_click_E], self.patience * log.ticks_per_second)
        text = f"{counted(len(shown), 'impression')} passed over before a click: negatives"
        if alone := int((~is_click_E).sum()) - len(shown):
            text += f"; {alone:,} left out, without a click in the next {self.patience} seconds"
        note(f"{self.name}: {text}")
        return replace(log, frame=clicks, shown=shown)

    @property
    def _log(self) -> RatingsFile:
        return _log_of(self, "standard", f"{CLICK}=is_click")


@dataclass(frozen=True)
class KuaiRandUniform:
    """The impressions whose video was drawn evenly from a pool, clicked or not: a log with a known
    propensity, 1 / pool, for off-policy estimates of what to show."""

    pool: ClassVar[int] = 7583  # as published; the same in every version
    version: Version = "pure"
    reward: str = "is_click + long_view"
    signals: str = "is_click, long_view"
    data_root: str | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return f"kuairand-{self.version}-uniform"

    def content_hash(self) -> str:
        return hash_of(self._log, self)

    def load(self) -> Interactions:
        log = loaded(self._log, self)
        return replace(log, frame=log.frame.assign(**{PROPENSITY: 1 / self.pool}))

    @property
    def _log(self) -> RatingsFile:
        return _log_of(self, "random")


def _log_of(dataset: KuaiRand | KuaiRandUniform, kind: str, further: str = "") -> RatingsFile:
    """Read in the order of the files' names."""
    names = [f"log_{kind}_*_{dataset.version}{end}.csv" for end in ("", "_part*")]
    return RatingsFile(
        published_file(dataset.name, URL, dataset.data_root, names),
        duplicates="first",
        reward=dataset.reward,
        signals=", ".join(part for part in (dataset.signals, further) if part.strip()),
        columns="item=video_id,time=time_ms",
    )


def _before_a_click(clicks: pd.DataFrame, passed: pd.DataFrame, patience: int) -> pd.DataFrame:
    """Of each impression without a click the user, the item, and the time of the user's next click;
    without those whose next click came later than `patience` ticks."""
    import pandas as pd

    columns = ["user_id", "timestamp"]
    wanted = passed[[*columns, "item_id"]].sort_values("timestamp", kind="stable")
    there = clicks[columns].sort_values("timestamp", kind="stable")
    found = pd.merge_asof(
        wanted,
        there.assign(clicked_at=there["timestamp"]),
        on="timestamp",
        by="user_id",
        direction="forward",
        tolerance=patience,
    )
    kept = found[found["clicked_at"].notna()]
    times_S = kept["clicked_at"].to_numpy().astype("int64")
    return kept[["user_id", "item_id"]].assign(timestamp=times_S).reset_index(drop=True)
