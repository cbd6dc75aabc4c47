"""Ratings from the user's own table file, checked before anything is built on them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from recsys_posttrain.config import require
from recsys_posttrain.data.notes import note
from recsys_posttrain.errors import UserError, nearest
from recsys_posttrain.files import sha256_of

if TYPE_CHECKING:
    import pandas as pd

    from recsys_posttrain.data.columns import Column
    from recsys_posttrain.types import Interactions

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
# Compared in lower case without "_", "-" and spaces, so userId, user_id and "User ID" are one.
ALIASES = {
    "user_id": ("userid", "user", "uid", "visitorid", "customerid"),
    "item_id": ("itemid", "item", "iid", "movieid", "movie", "productid", "asin"),
    "rating": ("rating", "ratings", "score", "reward", "stars", "value"),
    "propensity": (
        *("propensity", "propensities", "pscore", "propensityscore", "loggingpropensity"),
        *("actionprob", "actionprobability", "loggingprobability", "behaviorprobability"),
    ),
    "timestamp": ("timestamp", "ts", "time", "datetime", "date", "unixtime"),
}
OPTIONAL = ("rating", "propensity")
EVENT = ["user_id", "item_id", "timestamp"]
SHOWN, SHOWN_COLUMNS = 60, 20  # characters of a column's name, and columns, in a sentence
NEAR = 0.7  # of difflib: one letter of six wrong

Duplicates = Literal["refuse", "first", "last"]


def interactions_of(frame: pd.DataFrame, columns: Mapping[str, str]) -> Interactions:
    """What a `RatingsFile` with these rows gives.

    columns: by one of our names, that of the frame, where it is none of the usual ones; other
    columns of the frame are then not read as it.

    Raises: UserError as `RatingsFile.load`, or where a name is none of ours or not in the frame.
    """
    import pandas as pd
    import pyarrow as pa  # type: ignore[import-untyped]

    from recsys_posttrain.data.columns import Column

    source = RatingsFile("the data frame")
    for ours, theirs in columns.items():
        require(ours in ALIASES, f"columns={{{ours!r}: ...}}: give one of {', '.join(ALIASES)}.")
        require(theirs in frame, f"the data frame has no column {theirs!r}, given for {ours}.")
    named: dict[object, str] = {theirs: ours for ours, theirs in columns.items()}
    replaced = {alias for ours in columns for alias in ALIASES[ours]}
    kept = [name for name in frame if name in named or _plain(str(name)) not in replaced]
    names = [named.get(name, str(name)) for name in kept]
    table = pa.Table.from_pandas(frame[kept], preserve_index=False)
    found = {
        ours: Column(source.path, str(kept[place]), table.column(place))
        for ours, place in source._chosen(names).items()
    }
    hashes = pd.util.hash_pandas_object(frame[kept], index=False).to_numpy()
    # Which column is which decides as well: prepared data are found again by this.
    read = {ours: column.name for ours, column in found.items()}
    content = hashlib.sha256(hashes.tobytes() + repr(read).encode())
    return source._interactions(found, content.hexdigest())


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c not in "_- ")


def suffix_of(path: str) -> str:
    """Which of SUFFIXES the name ends in, in lower case; "" for none."""
    return next((end for end in SUFFIXES[::-1] if path.lower().endswith(end)), "")


@dataclass(frozen=True)
class RatingsFile:
    """A .csv, .tsv (.gz too) or .parquet with user_id, item_id, rating and timestamp, and, where
    the log knows it, the propensity of each choice.

    Usual other names serve too. Without a column of ratings every event has the rating 1.
    Timestamps are numbers of one unit, seconds to nanoseconds, or ISO 8601 dates, read as UTC
    when they name no zone.

    duplicates: which row to keep of those with one user, item and timestamp, "first" or "last" in
    the file; "refuse": none may be there.
    """

    path: str
    minimum_events: int = 2  # of the longest history: what training needs; recommending needs 1
    duplicates: Duplicates = "refuse"

    def __post_init__(self) -> None:
        if self.duplicates not in ("refuse", "first", "last"):
            raise UserError(f"duplicates is {self.duplicates!r}; give refuse, first or last.")

    @property
    def name(self) -> str:
        name = Path(self.path).name
        return name[: len(name) - len(suffix_of(name))]

    def content_hash(self) -> str:
        """SHA-256 of the file, and of the rule for duplicates where one changes the events."""
        try:
            content = sha256_of(self._existing())
        except OSError as error:
            raise UserError(f"Cannot read {self.path}: {error.strerror or error}.") from error
        if self.duplicates == "refuse":
            return content
        return hashlib.sha256(f"{content} duplicates={self.duplicates}".encode()).hexdigest()

    def load(self) -> Interactions:
        """Read and check the file. What is converted or left out is said in one line each.

        Raises: UserError: the file is missing, unreadable or empty; a column is missing; a row has
        another number of fields than the header; a value is missing, not finite or not a number or
        time; an event is there twice; no user has two events.
        """
        from recsys_posttrain.data.read_table import read_table

        content_hash = self.content_hash()
        columns = read_table(self._existing(), suffix_of(self.path)[1:], self._chosen)
        return self._interactions(columns, content_hash)

    def _interactions(self, columns: Mapping[str, Column], content_hash: str) -> Interactions:
        import pandas as pd

        from recsys_posttrain.data.columns import read_ids, read_propensities, read_ratings
        from recsys_posttrain.data.times import read_times
        from recsys_posttrain.types import Interactions

        rows = len(columns["user_id"].values)
        if not rows:
            raise UserError(f"{self.path} has no rows; give a file with at least one event.")
        has_ratings = "rating" in columns
        if not has_ratings:
            note(f"{self.path}: no rating column, so every event has the rating 1")
        times = read_times(columns["timestamp"])
        frame = pd.DataFrame(
            {
                "user_id": read_ids(columns["user_id"]),
                "item_id": read_ids(columns["item_id"]),
                "rating": read_ratings(columns["rating"]) if has_ratings else 1.0,
                "timestamp": times.ticks_E,
            }
        )
        if "propensity" in columns:
            frame["propensity"] = read_propensities(columns["propensity"])
        frame = self._without_duplicates(frame)
        self._check_lengths(frame)
        return Interactions(
            self.name, frame, content_hash, times.ticks_per_second, has_ratings=has_ratings
        )

    def _existing(self) -> Path:
        path = Path(self.path).expanduser()
        if not suffix_of(self.path):
            raise UserError(
                f"{self.path} is none of {', '.join(SUFFIXES)}; convert it to one of them."
            )
        if path.is_dir():
            raise UserError(f"{self.path} is a folder; give the path of one file.")
        if not path.exists():
            raise UserError(f"There is no file {self.path}; check the path.")
        if not path.is_file():
            raise UserError(f"{self.path} is not a regular file; save what it gives as a file.")
        return path

    def _chosen(self, names: list[str]) -> dict[str, int]:
        """Which column of the file, by place, is each of ours."""
        plain = [_plain(name) for name in names]
        shown = [" ".join(name.split())[:SHOWN] for name in names[:SHOWN_COLUMNS]]
        shown += ["..."] * (len(names) > SHOWN_COLUMNS)
        columns = {}
        for wanted, aliases in ALIASES.items():
            found = [place for place, name in enumerate(names) if name.strip() == wanted]
            found = found or [place for place, text in enumerate(plain) if text in aliases]
            if len(found) > 1:
                raise UserError(
                    f"{self.path} has several columns for {wanted}: "
                    f"{', '.join(names[place] for place in found)}; "
                    f"rename the right one to {wanted} and the others to something else."
                )
            if found:
                columns[wanted] = found[0]
            elif wanted not in OPTIONAL:
                raise UserError(
                    f"{self.path} has no column {wanted}; the columns found are "
                    f"{', '.join(shown)}; rename one to {wanted}."
                )
        if "rating" not in columns:
            self._check_unread(plain)
        return columns

    def _check_unread(self, names: list[str]) -> None:
        """With a misspelled rating, a log that has ratings would be read as one without."""
        for name in names:
            if near := nearest(name, ALIASES["rating"], NEAR):
                raise UserError(
                    f"{self.path} has a column {name[:SHOWN]!r}, which looks like {near}; "
                    "rename it to rating, or to something else if it is none."
                )

    def _without_duplicates(self, frame: pd.DataFrame) -> pd.DataFrame:
        keep = self.duplicates if self.duplicates != "refuse" else "first"
        repeated = frame.duplicated(EVENT, keep=keep).to_numpy()
        count = int(repeated.sum())
        if not count:
            return frame
        if self.duplicates == "refuse":
            row = int(repeated.argmax())
            user, item, time = frame[EVENT].iloc[row]
            raise UserError(
                f"{self.path}: row {row + 1} repeats an earlier event (user {user}, item {item}, "
                f"timestamp {time}); remove the {count} duplicate rows, or keep one of each with "
                "--duplicates first or last."
            )
        note(f"{self.path}: {count:,} duplicate events left out, the {keep} of each is kept")
        return frame[~repeated].reset_index(drop=True)

    def _check_lengths(self, frame: pd.DataFrame) -> None:
        if int(frame["user_id"].value_counts().max()) < self.minimum_events:
            raise UserError(
                f"{self.path} has one event per user; sequences need users with several events: "
                "check that the user column is the right one."
            )
