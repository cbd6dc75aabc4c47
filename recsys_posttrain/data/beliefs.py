"""MovieLens Beliefs 2024: ratings, and what people expect of movies that they have not seen.

G. Aridor and others, 2024, arXiv 2405.11053. Layout of the download, of which two files are read:

    user_rating_history.csv    userId, movieId, rating (0.5 to 5), timestamp (seconds)
    belief_data.csv            userId, movieId, isSeen (-1: no answer, 0: not seen, 1: seen),
                               watchDate, userElicitRating, userPredictRating (0.5 to 5, of what
                               was not seen), userCertainty (1 to 5), tstamp (seconds), month_idx,
                               source, systemPredictRating
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recsys_posttrain.data.published import hash_of, loaded, published_file
from recsys_posttrain.data.table_file import RatingsFile

if TYPE_CHECKING:
    import pandas as pd

    from recsys_posttrain.types import Interactions

URL = "https://grouplens.org/datasets/movielens/ml_belief_2024"


@dataclass(frozen=True)
class MovieLensBeliefs:
    """The ratings; `expected` has the beliefs."""

    data_root: str | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return "ml-belief-2024"

    def content_hash(self) -> str:
        return hash_of(self._log, self)

    def load(self) -> Interactions:
        return loaded(self._log, self)

    def expected(self, certainty: float = 1) -> pd.DataFrame:
        """What people expect of movies that they have not chosen: user_id, item_id, rating,
        timestamp, with at least this certainty (1 to 5); of each pair the last answer.

        The judge of a study learns from them (data/expected.py): no log of choices holds them.
        """
        import pandas as pd

        wanted = ["userId", "movieId", "isSeen", "userPredictRating", "userCertainty", "tstamp"]
        frame = pd.read_csv(self._path("belief_data.csv"), usecols=wanted)
        kept = frame[(frame["isSeen"] == 0) & (frame["userCertainty"] >= certainty)]
        kept = kept[kept["userPredictRating"].notna()].sort_values("tstamp", kind="stable")
        kept = kept.drop_duplicates(["userId", "movieId"], keep="last")
        names = ["user_id", "item_id", "rating", "timestamp"]
        columns = kept[["userId", "movieId", "userPredictRating", "tstamp"]]
        return columns.set_axis(names, axis="columns").sort_index(ignore_index=True)

    @property
    def _log(self) -> RatingsFile:
        return RatingsFile(self._path("user_rating_history.csv"), duplicates="first")

    def _path(self, name: str) -> str:
        return published_file(self.name, URL, self.data_root, [name])
