"""Ratings from the user's own table files, checked before anything is built on them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from recsys_posttrain.config import require
from recsys_posttrain.data.notes import note
from recsys_posttrain.data.signals import SIGNAL
from recsys_posttrain.data.table_columns import (
    ALIASES,
    AS_IT_IS,
    chosen_columns,
    mapping_of,
)
from recsys_posttrain.data.table_paths import table_hash, table_name, table_paths
from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from recsys_posttrain.data.columns import Column
    from recsys_posttrain.data.expression import Expression
    from recsys_posttrain.types import Interactions

EVENT = ["user_id", "item_id", "timestamp"]
Duplicates = Literal["refuse", "first", "last"]


@dataclass(frozen=True)
class FileRules:
    """Fields of `RatingsFile` that a command line gives; None: as the file has them."""

    duplicates: Duplicates | None = None
    reward: str | None = None
    signals: str | None = None
    columns: str | None = None

    @property
    def given(self) -> dict[str, str]:
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def options(self) -> list[str]:
        """How a command line gives them, word by word."""
        return [word for name, value in self.given.items() for word in (f"--{name}", value)]


def interactions_of(
    frame: pd.DataFrame, columns: Mapping[str, str], minimum_events: int = 2
) -> Interactions:
    """What a `RatingsFile` with these rows gives.

    minimum_events: of the longest history. columns: by one of our names, that of the frame, where
    it is none of the usual ones; other columns of the frame are then not read as it.

    Raises: UserError as `RatingsFile.load`, or where a name is none of ours or not in the frame.
    """
    import pandas as pd
    import pyarrow as pa  # type: ignore[import-untyped]

    from recsys_posttrain.data.columns import Column

    source = RatingsFile("the data frame", minimum_events)
    for ours, theirs in columns.items():
        require(ours in ALIASES, f"columns={{{ours!r}: ...}}: give one of {', '.join(ALIASES)}.")
        require(theirs in frame, f"the data frame has no column {theirs!r}, given for {ours}.")
    names = [str(name) for name in frame]
    mapping = {ours: str(theirs).strip() for ours, theirs in columns.items()}
    chosen = chosen_columns(source.path, names, mapping, (), has_reward=False)
    read = frame.iloc[:, list(chosen.values())]
    table = pa.Table.from_pandas(read, preserve_index=False)
    found = {
        ours: Column(source.path, names[place], table.column(n))
        for n, (ours, place) in enumerate(chosen.items())
    }
    hashes = pd.util.hash_pandas_object(read, index=False).to_numpy()
    # Which column is which decides as well: prepared data are found again by this.
    names_read = {ours: column.name for ours, column in found.items()}
    content = hashlib.sha256(hashes.tobytes() + repr(names_read).encode())
    return source._interactions(found, content.hexdigest())


def repeated_events(frame: pd.DataFrame, keep: Literal["first", "last"]) -> np.ndarray:
    """Which rows, bool, have the user, item and timestamp of another that is kept.

    Few users have an item twice, so times are compared for those rows alone; what pandas makes of
    three columns of a large log would be larger than the log.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    pair_E, items = pd.factorize(frame["user_id"])[0], frame["item_id"].nunique()
    pair_E *= items
    pair_E += pd.factorize(frame["item_id"])[0]
    pa.default_memory_pool().release_unused()  # what numbering text took
    order_E = pair_E.argsort()
    pair_E.sort()  # in place: a copy would be a column more
    is_next_E = pair_E[1:] == pair_E[:-1]
    del pair_E
    is_twice_E = np.zeros(len(frame), dtype=bool)
    is_twice_E[order_E[1:][is_next_E]] = True
    is_twice_E[order_E[:-1][is_next_E]] = True
    repeated_E = np.zeros(len(frame), dtype=bool)
    repeated_E[is_twice_E] = frame.loc[is_twice_E, EVENT].duplicated(keep=keep)
    return repeated_E


@dataclass(frozen=True)
class RatingsFile:
    """A .csv, .tsv (.gz too) or .parquet with user_id, item_id, rating and timestamp, and, where
    the log knows it, the propensity of each choice, the region of its user, and what was shown and
    not chosen (impressions.py); a folder or a pattern (day*.csv) of such files.

    Usual other names serve too. Without a column of ratings every event has the rating 1.
    Timestamps are numbers of one unit, seconds to nanoseconds, or ISO 8601 dates, read as UTC
    when they name no zone.

    duplicates: which row to keep of those with one user, item and timestamp, "first" or "last" in
    the file; "refuse": none may be there.
    reward: a formula of columns (expression.py) whose values are the ratings.
    signals: further columns, or formulas with a name, that travel with every event: "click,
    long=watch/duration".
    columns: which column is which, where the names are none of the usual ones: "user=uid,item=vid".
    """

    path: str
    minimum_events: int = 2  # of the longest history: what training needs; recommending needs 1
    duplicates: Duplicates = "refuse"
    reward: str = ""
    signals: str = ""
    columns: str = ""

    def __post_init__(self) -> None:
        if self.duplicates not in ("refuse", "first", "last"):
            raise UserError(f"duplicates is {self.duplicates!r}; give refuse, first or last.")
        _ = self._read, self._mapping  # refuses a formula that cannot be read, now

    @property
    def name(self) -> str:
        return table_name(self.path)

    @property
    def _formulas(self) -> dict[str, Expression]:
        """By the column of the frame that each fills."""
        if not (self.reward.strip() or self.signals.strip()):
            return {}
        from recsys_posttrain.data.expression import Expression, named_expressions

        signals = named_expressions(self.signals) if self.signals.strip() else {}
        rating = {"rating": Expression(self.reward)} if self.reward.strip() else {}
        return {**rating, **{SIGNAL + name: each for name, each in signals.items()}}

    @property
    def _read(self) -> list[str]:
        """The columns that formulas read."""
        return [name for each in self._formulas.values() for name in each.columns]

    @property
    def _mapping(self) -> dict[str, str]:
        return mapping_of(self.columns)

    def content_hash(self) -> str:
        """SHA-256 of the file, and of the rules that change what is read from it."""
        content, rules = table_hash(self.path), ""
        if self.duplicates != "refuse":
            rules += f" duplicates={self.duplicates}"
        for name, formula in self._formulas.items():
            rules += f" {name}={formula.canonical}"
        for ours, theirs in sorted(self._mapping.items()):
            rules += f" column {ours}={theirs}"
        return hashlib.sha256(f"{content}{rules}".encode()).hexdigest() if rules else content

    def load(self) -> Interactions:
        """Read and check the file. What is converted or left out is said in one line each.

        Raises: UserError: the file is missing, unreadable or empty; a column is missing; a row has
        another number of fields than the header; a value is missing, not finite or not a number or
        time; an event is there twice; no user has two events; a formula has no value.
        """
        from recsys_posttrain.data.read_table import read_tables

        content_hash = self.content_hash()
        return self._interactions(
            read_tables(self.path, table_paths(self.path), self._chosen), content_hash
        )

    def unused(self) -> list[str]:
        """Numeric columns that nothing reads, by name."""
        from recsys_posttrain.data.read_table import read_tables

        def others(names: list[str]) -> dict[str, int]:
            used = set(self._chosen(names).values())
            return {str(place): place for place in range(len(names)) if place not in used}

        found = read_tables(self.path, table_paths(self.path)[:1], others)
        return [column.name for column in found.values() if column.plain().holds_numbers]

    def _chosen(self, names: list[str]) -> dict[str, int]:
        return chosen_columns(
            self.path, names, self._mapping, self._read, bool(self.reward.strip())
        )

    def _interactions(self, columns: dict[str, Column], content_hash: str) -> Interactions:
        """columns: are taken out as they are read, so that no column is held twice for long."""
        import pandas as pd
        import pyarrow as pa

        from recsys_posttrain.data.columns import read_ids, read_propensities, read_ratings
        from recsys_posttrain.data.impressions import chosen_rows, shown_rows, slate_columns
        from recsys_posttrain.data.regions import REGION, read_regions
        from recsys_posttrain.data.times import read_times
        from recsys_posttrain.types import Interactions

        rows = len(columns["user_id"].values)
        if not rows:
            raise UserError(f"{self.path} has no rows; give a file with at least one event.")
        formulas = self._formulas
        has_ratings = "rating" in columns or "rating" in formulas
        if not has_ratings:
            note(f"{self.path}: no rating column, so every event has the rating 1")
        times, is_chosen_E = read_times(columns.pop("timestamp")), chosen_rows(columns)
        # Here and below a column is held once, and text that has become numbers is given back.
        release = pa.default_memory_pool().release_unused
        ticks = times.ticks_per_second
        found: dict[str, Any] = {"timestamp": times.ticks_E, "rating": 1.0}
        del times
        release()
        if "rating" in columns:
            found["rating"] = read_ratings(columns.pop("rating"), is_chosen_E)
            release()
        frame = pd.DataFrame({"user_id": read_ids(columns["user_id"])})
        columns["user_id"] = columns["user_id"].without_values()  # for sentences that name it
        release()
        frame["item_id"] = read_ids(columns.pop("item_id"))
        release()
        frame["rating"] = found.pop("rating")
        frame["timestamp"] = found.pop("timestamp")
        if "propensity" in columns:
            frame["propensity"] = read_propensities(columns["propensity"], is_chosen_E)
        if REGION in columns:
            frame[REGION] = read_regions(columns[REGION])
        for name, values in slate_columns(columns).items():
            frame[name] = values
        shown = None
        if is_chosen_E is not None and not is_chosen_E.all():
            shown = shown_rows(frame, is_chosen_E, columns)
            frame = frame[is_chosen_E]
        frame = self._without_duplicates(frame, columns["user_id"])
        self._check_lengths(frame)
        if formulas:
            self._fill(frame, columns)
        frame = frame.reset_index(drop=True)
        return Interactions(self.name, frame, content_hash, ticks, has_ratings, shown)

    def _fill(self, frame: pd.DataFrame, columns: Mapping[str, Column]) -> None:
        """With the values of the formulas, over the rows that are kept."""
        from recsys_posttrain.data.columns import read_numbers, size_rules

        kept_E, place = frame.index.to_numpy(), columns["user_id"].place
        read = {name: read_numbers(columns[AS_IT_IS + name])[kept_E] for name in set(self._read)}
        user_E = frame["user_id"].to_numpy()
        for name, formula in self._formulas.items():
            value_E = formula.values(read, user_E)
            formula.check(value_E, read, lambda row: place(int(kept_E[row])))
            for good_E, rule in size_rules(value_E, f"{formula.what} {formula.text!r}"):
                require(good_E.all(), f"{self.path}: {rule}.")
            frame[name] = value_E

    def _without_duplicates(self, frame: pd.DataFrame, column: Column) -> pd.DataFrame:
        keep: Literal["first", "last"] = "last" if self.duplicates == "last" else "first"
        repeated = repeated_events(frame, keep)
        count = int(repeated.sum())
        if not count:
            return frame
        if self.duplicates == "refuse":
            row = int(repeated.argmax())
            user, item, time = frame[EVENT].iloc[row]
            raise UserError(
                f"{self.path}: {column.place(row)} repeats an earlier event (user {user}, item "
                f"{item}, timestamp {time}); remove the {count} duplicate rows, or keep one of "
                "each with --duplicates first or last."
            )
        note(f"{self.path}: {count:,} duplicate events left out, the {keep} of each is kept")
        return frame[~repeated]

    def _check_lengths(self, frame: pd.DataFrame) -> None:
        if int(frame["user_id"].value_counts().max()) < self.minimum_events:
            raise UserError(
                f"{self.path} has one event per user; sequences need users with several events: "
                "check that the user column is the right one."
            )
