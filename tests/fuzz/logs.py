"""A log whose truth is known, and the many ways in which people write such a log down.

The truth comes first and the file is written from it, so what a reader should find is known
without reading the file again.
"""

import csv
import gzip
import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

NANOSECONDS = 1_000_000_000
UNITS = {"s": NANOSECONDS, "ms": 1_000_000, "us": 1_000, "ns": 1}
NAMES = {
    "user_id": ("user_id", "userId", "User ID", "uid", "USER"),
    "item_id": ("item_id", "movieId", "item", "asin", "Item-Id"),
    "rating": ("rating", "stars", "Score", "reward"),
    "timestamp": ("timestamp", "ts", "time", "Date"),
}
USER_STYLES = ("u{}", "{}", "00{}", "user {}", "é{}", "[b]{}[/b]", "None{}", ":smile:{}")


@dataclass(frozen=True)
class Event:
    """One event as it happened. time: nanoseconds since 1970."""

    user: str
    item: str
    rating: float
    time: int


def drawn_log(random, fraction=0):
    """Some users with distinct items each, in an order that is not that of time.

    fraction: nanoseconds that the time of an event may have beyond a whole second, at most.
    """
    user_style, item_style = (str(random.choice(USER_STYLES)) for _ in range(2))
    items = int(random.integers(5, 10))
    events = []
    for user in range(int(random.integers(4, 9))):
        start = 1_600_000_000 + int(random.integers(0, 10**8))
        chosen = random.permutation(items)[: int(random.integers(3, items + 1))]
        for place, item in enumerate(chosen):
            time = (start + place // 2 * 60) * NANOSECONDS
            # Two events share each second: only what is beyond the second orders them.
            time += place % 2 * fraction
            time = time if fraction else (start + place * 60) * NANOSECONDS
            name, title = user_style.format(user + 1), item_style.format(item + 1)
            events.append(Event(name, title, float(random.integers(1, 6)), time))
    return [events[place] for place in random.permutation(len(events))]


def histories(events):
    """What a reader has to find: user -> (item, rating, whole seconds), earliest first."""
    found = {}
    for event in sorted(events, key=lambda event: event.time):
        seconds = event.time // NANOSECONDS
        found.setdefault(event.user, []).append((event.item, event.rating, seconds))
    return found


def written_time(time, style):
    """A time as text: a unit of UNITS, "fraction" of seconds, or a style of ISO 8601."""
    seconds, rest = divmod(time, NANOSECONDS)
    if style in UNITS:
        return str(time // UNITS[style])
    if style == "fraction":
        return f"{seconds}.{rest:09d}"
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{rest:09d}" if rest else "")
    if style == "zone":
        shifted = moment + timedelta(hours=2)
        return shifted.strftime("%Y-%m-%dT%H:%M:%S") + (f".{rest:09d}" if rest else "") + "+02:00"
    return text.replace("T", " ") if style == "blank" else text + ("Z" if style == "zulu" else "")


def rows_of(events, style="s"):
    texts = (
        (event.user, event.item, f"{event.rating:g}", written_time(event.time, style))
        for event in events
    )
    return [dict(zip(NAMES, each, strict=True)) for each in texts]


def csv_bytes(rows, random=None, separator=","):
    """The rows as a csv file; with `random` in one of the ways that programs write one."""
    columns, names = list(rows[0]), {column: column for column in rows[0]}
    line_end, quoting = "\n", csv.QUOTE_MINIMAL
    if random is not None:
        columns = [columns[place] for place in random.permutation(len(columns))]
        names = {
            column: str(random.choice(NAMES[column])) if column in NAMES else column
            for column in columns
        }
        line_end = str(random.choice(["\n", "\r\n"]))
        quoting = int(random.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=line_end, quoting=quoting)
    writer.writerow([names[column] for column in columns])
    writer.writerows([row[column] for column in columns] for row in rows)
    mark = "\ufeff" if random is not None and random.random() < 0.2 else ""
    return (mark + text.getvalue()).encode()


def write_csv(folder, content, name="log.csv"):
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def write_parquet(folder, events, random):
    """The events as parquet, each column in one of the types that such files have."""
    frame = pd.DataFrame([vars(event) for event in events])
    time_unit = str(random.choice(["s", "ms", "us", "ns"]))
    stamps = pa.array(frame["time"].to_numpy() // UNITS[time_unit], type=pa.timestamp(time_unit))
    times = {
        "stamp": stamps,
        "zoned": stamps.cast(pa.timestamp(time_unit, "UTC")),
        "seconds": pa.array(frame["time"].to_numpy() // NANOSECONDS),
        "float": pa.array(frame["time"].to_numpy() // NANOSECONDS, type=pa.float64()),
        "text": pa.array([written_time(time, "zulu") for time in frame["time"]]),
    }
    ids = [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
    numbers = [pa.float64(), pa.float32(), pa.int8(), pa.int64(), pa.decimal128(5, 2)]
    rating_type = numbers[int(random.integers(len(numbers)))]
    columns = {
        "user_id": pa.array(frame["user"]).cast(ids[int(random.integers(2))]),
        "item_id": _as(pa.array(frame["item"]), ids[int(random.integers(3))]),
        "rating": pa.array(frame["rating"]).cast(rating_type),
        "timestamp": times[str(random.choice(list(times)))],
    }
    path = folder / "log.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def _as(values, kind):
    return values.dictionary_encode() if pa.types.is_dictionary(kind) else values.cast(kind)
