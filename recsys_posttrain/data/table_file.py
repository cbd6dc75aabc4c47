"""Ratings from the user's own CSV or parquet file, checked before anything is built on them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from recsys_posttrain.types import Interactions

# Compared in lower case without "_", "-" and spaces, so userId, user_id and "User ID" are one.
ALIASES = {
    "user_id": ("userid", "user", "uid", "visitorid", "customerid"),
    "item_id": ("itemid", "item", "iid", "movieid", "movie", "productid", "asin"),
    "rating": ("rating", "ratings", "score", "reward", "stars", "value"),
    "timestamp": ("timestamp", "ts", "time", "datetime", "date", "unixtime"),
}


@dataclass(frozen=True)
class RatingsFile:
    """A .csv or .parquet with user_id, item_id, rating and timestamp (usual other names too).

    Timestamps are seconds, or ISO 8601 dates, read as UTC when they name no zone.
    """

    path: str
    minimum_events: int = 2  # of the longest history: what training needs; recommending needs 1

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def content_hash(self) -> str:
        try:
            return hashlib.sha256(self._existing().read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(f"Cannot read {self.path}: {error.strerror or error}.") from error

    def load(self) -> Interactions:
        """Read and check the file.

        Raises:
            UserError: the file is missing, unreadable or empty; a column is missing; a value is
                missing, not finite or not a number or time; an event is there twice; no user has
                two events.
        """
        import pandas as pd

        from recsys_posttrain.types import Interactions

        content_hash = self.content_hash()
        table = _read(self._existing())
        columns = _columns(table, self.path)
        if table.empty:
            raise UserError(f"{self.path} has no rows; give a file with at least one rating.")
        frame = pd.DataFrame(
            {
                "user_id": _ids(table[columns["user_id"]], self.path),
                "item_id": _ids(table[columns["item_id"]], self.path),
                "rating": _ratings(table[columns["rating"]], self.path),
                "timestamp": _seconds(table[columns["timestamp"]], self.path),
            }
        )
        _check_events(frame, self.path, self.minimum_events)
        return Interactions(self.name, frame, content_hash)

    def _existing(self) -> Path:
        path = Path(self.path).expanduser()
        if path.suffix.lower() not in (".csv", ".parquet"):
            raise UserError(f"{self.path} is neither .csv nor .parquet; convert it to one of them.")
        if not path.is_file():
            raise UserError(f"There is no file {self.path}; check the path.")
        return path


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa  # type: ignore[import-untyped]

    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        # As text, so that ids keep leading zeros and a bad value can be named as it is written;
        # only an empty field is missing: an item may be called "None" or "NA".
        return pd.read_csv(
            path,
            dtype=str,
            encoding="utf-8-sig",
            keep_default_na=False,
            na_values=[""],
            index_col=False,  # otherwise a surplus field would shift every column by one
        )
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path} is empty; give a file with a header and rows.") from error
    except (pd.errors.ParserError, UnicodeDecodeError, pa.ArrowException, ValueError) as error:
        kind = path.suffix.lower().removeprefix(".")
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} is not a readable {kind} file: {reason}.") from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error


def _columns(table: pd.DataFrame, path: str) -> dict[str, str]:
    """Which column of the file is each of ours."""
    plain = {
        str(column): "".join(c for c in str(column).lower() if c not in "_- ")
        for column in table.columns
    }
    columns = {}
    for wanted, aliases in ALIASES.items():
        found = [column for column, text in plain.items() if text in aliases]
        if wanted in found:
            found = [wanted]
        if not found:
            raise UserError(
                f"{path} has no column {wanted}; the columns found are {', '.join(plain)}; "
                f"rename one to {wanted}."
            )
        if len(found) > 1:
            raise UserError(
                f"{path} has several columns for {wanted}: {', '.join(found)}; "
                f"rename the right one to {wanted}."
            )
        columns[wanted] = found[0]
    return columns


def _ids(values: pd.Series, path: str) -> pd.Series:
    """Ids as they are; text that is a whole number, written plainly, becomes one."""
    import pandas as pd

    _check(values.notna(), values, f"{path}: every event needs a value in {values.name}")
    text = values.astype(str)
    numbers = pd.to_numeric(text, errors="coerce")
    if numbers.dtype == "int64" and bool((numbers.astype(str) == text).all()):
        return numbers
    return text


def _ratings(values: pd.Series, path: str) -> pd.Series:
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    # A comparison with NaN is False, so this is also the check for missing values and text.
    _check(numbers.abs() < float("inf"), values, f"{path}: the rating must be a finite number")
    return numbers


def _seconds(values: pd.Series, path: str) -> pd.Series:
    import numpy as np
    import pandas as pd

    rule = f"{path}: the timestamp must be in seconds or a date like 2024-01-31T12:00:00"
    if not pd.api.types.is_datetime64_any_dtype(values):
        numbers = pd.to_numeric(values, errors="coerce")
        if bool(numbers.notna().any()):
            # Beyond 2**53 neighbouring whole numbers cannot be told apart as floats.
            _check((numbers.abs() < 2.0**53).astype("boolean").fillna(False), values, rule)
            seconds: pd.Series = np.floor(numbers)
            return seconds.astype("int64")
    times = pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
    _check(times.notna(), values, rule)
    return times.dt.tz_localize(None).astype("datetime64[s]").astype("int64")


def _check(good: pd.Series, values: pd.Series, rule: str) -> None:
    """Name the first row that breaks a rule. Rows are counted from 1, without the header."""
    import pandas as pd

    if bool(good.all()):
        return
    row = int((~good.to_numpy(dtype=bool)).argmax())
    value = values.iloc[row]
    written = "nothing" if pd.isna(value) else repr(str(value))
    raise UserError(f"{rule}; row {row + 1} has {written}: correct or remove that row.")


def _check_events(frame: pd.DataFrame, path: str, minimum: int) -> None:
    event = ["user_id", "item_id", "timestamp"]
    repeated = frame.duplicated(event).to_numpy()
    if repeated.any():
        row = int(repeated.argmax())
        user, item, time = frame[event].iloc[row]
        raise UserError(
            f"{path}: row {row + 1} repeats an earlier event (user {user}, item {item}, "
            f"timestamp {time}); remove the {int(repeated.sum())} duplicate rows."
        )
    if int(frame["user_id"].value_counts().max()) < minimum:
        raise UserError(
            f"{path} has one event per user; sequences need users with several events: "
            "check that the user column is the right one."
        )
