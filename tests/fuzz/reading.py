"""Kinds of inputs that are read as a log: the file is drawn from a known truth."""

from damage import damaged
from logs import (
    NANOSECONDS,
    Event,
    csv_bytes,
    drawn_log,
    histories,
    rows_of,
    write_csv,
    write_parquet,
    written_time,
)

SEPARATORS = (",", ",", ";", "\t", "|")


def read(path, **settings):
    """user -> (item, rating, seconds) in the order that everything downstream sees."""

    def work():
        from recsys_posttrain.data import RatingsFile, prepare

        corpus = prepare(RatingsFile(str(path), **settings), minimum_item_ratings=1)
        sequences, found = corpus.sequences, {}
        for row, user in enumerate(corpus.user_ids.tolist()):
            events = slice(*sequences.offsets_N1[row : row + 2].tolist())
            items = [corpus.item_ids[item - 1] for item in sequences.items_E[events].tolist()]
            stars_E = sequences.rewards_E[events].double().numpy()
            rewards = corpus.reward_scale.from_stars(stars_E).tolist()
            times = sequences.timestamps_E[events].tolist()
            found[str(user)] = [
                (str(item), round(reward, 6), time)
                for item, reward, time in zip(items, rewards, times, strict=True)
            ]
        return found

    return work


def equals(events):
    """What was read is what happened: users, items, rewards, order and seconds."""
    wanted = {
        user: [list(event) for event in history] for user, history in histories(events).items()
    }

    def check(ending):
        if ending.code == 2:
            return f"a good log was refused: {ending.text.strip()}"
        # The order of users is the reader's own.
        return "" if ending.value == wanted else f"read {ending.value}, wanted {wanted}"

    return check


def refused(ending):
    return "" if ending.code == 2 else f"a bad log was read as {ending.value}"


def layouts(random, folder):
    """Separators, quotes, column names and orders, further columns, gzip: all of them good."""
    events = drawn_log(random)
    rows = rows_of(events)
    if random.random() < 0.3:
        rows = [row | {"title": f"Good, bad; {number}"} for number, row in enumerate(rows)]
    separator = str(random.choice(SEPARATORS))
    name = "log.csv.gz" if random.random() < 0.2 else "log.csv"
    path = write_csv(folder, csv_bytes(rows, random, separator), name)
    return read(path), equals(events)


def times(random, folder):
    """Units and forms of time, with and without fractions of a second."""
    style = str(random.choice(["s", "ms", "us", "ns", "fraction", "zulu", "zone", "blank", "iso"]))
    fractions = {"s": [0], "ms": [10**6], "us": [10**3], "ns": [1]}.get(style, [0, 1, 10**3, 10**8])
    events = drawn_log(random, int(random.choice(fractions)) * int(random.integers(1, 9)))
    if style == "s":
        events = drawn_log(random)
    if random.random() < 0.7:
        return read(write_csv(folder, csv_bytes(rows_of(events, style)))), equals(events)
    rows = rows_of(events, style)
    row = int(random.integers(len(rows)))
    other = "zulu" if style in ("s", "ms", "us", "ns", "fraction") else "s"
    bad = ("soon", "", "1e30", "-1e18", "nan", "inf", written_time(events[row].time, other))
    rows[row]["timestamp"] = str(random.choice(bad))
    return read(write_csv(folder, csv_bytes(rows))), refused


def rewards(random, folder):
    """One rating that is no number of float32, or is written in another way."""
    events = drawn_log(random)
    rows = rows_of(events)
    row = int(random.integers(len(rows)))
    good = {"4": 4.0, "4.0": 4.0, "+4": 4.0, "4e0": 4.0, "04": 4.0, " 4": 4.0}
    bad = ("", "nan", "inf", "-inf", "1e39", "-1e39", "1e999", "four", "4;0", "0x4", "4 4", "None")
    if random.random() < 0.4:
        rows[row]["rating"] = text = str(random.choice(list(good)))
        events[row] = Event(events[row].user, events[row].item, good[text], events[row].time)
        return read(write_csv(folder, csv_bytes(rows))), equals(events)
    rows[row]["rating"] = str(random.choice(bad))
    return read(write_csv(folder, csv_bytes(rows))), refused


def ids(random, folder):
    """Ids that look like something else, one to one; blanks around them; floats after a join."""
    events = drawn_log(random)
    kind = int(random.integers(4))
    if kind == 0:  # whole numbers that a join has turned into floats are those numbers
        numbers = {user: number + 7 for number, user in enumerate(sorted({e.user for e in events}))}
        whole = [Event(str(numbers[e.user]), e.item, e.rating, e.time) for e in events]
        rows = [row | {"user_id": f"{row['user_id']}.0"} for row in rows_of(whole)]
        return read(write_csv(folder, csv_bytes(rows))), equals(whole)
    if kind == 1:  # a blank in front or behind is not part of an id
        rows = rows_of(events)
        for row in random.integers(len(rows), size=3):
            rows[row]["item_id"] = f" {rows[row]['item_id'].strip()}  "
        return read(write_csv(folder, csv_bytes(rows))), equals(events)
    if kind == 2:
        rows = rows_of(events)
        column = str(random.choice(["user_id", "item_id"]))
        rows[int(random.integers(len(rows)))][column] = str(random.choice(["", " ", "   "]))
        return read(write_csv(folder, csv_bytes(rows))), refused
    names = ("NA", "null", "nan", "None", "True", "[/b]", "[red]", "urn:book:12", "é", "日本", "-0",
             "007", "1e5", "inf", "a|b", "*x*", "<b>", "$x$", "x" * 300, "a'b", "=1+1")  # fmt: skip
    items = sorted({event.item for event in events})
    new = dict(zip(items, random.permutation(names)[: len(items)].tolist(), strict=True))
    renamed = [Event(e.user, new[e.item], e.rating, e.time) for e in events]
    return read(write_csv(folder, csv_bytes(rows_of(renamed), random))), equals(renamed)


def structure(random, folder):
    """Bytes of a csv changed anywhere: what the change did not touch is read as it was, or
    nothing is."""
    events = drawn_log(random)
    content = csv_bytes(rows_of(events))
    if random.random() < 0.4:
        lines = content.decode().splitlines()
        row = int(random.integers(1, len(lines)))
        kind = int(random.integers(3))
        lines[row] = {0: f"{lines[row]},9", 1: lines[row].rpartition(",")[0], 2: lines[row]}[kind]
        if kind == 2:
            lines.insert(row, lines[row])  # the same event twice
        return read(write_csv(folder, "\n".join(lines).encode())), refused
    changed = damaged(content, random)
    path = write_csv(folder, changed)
    kept = set(content.splitlines()) & set(changed.splitlines())
    wanted = [
        event for event, line in zip(events, content.splitlines()[1:], strict=True) if line in kept
    ]

    def check(ending):
        if ending.code == 2:
            return ""
        found = {(u, *event) for u, history in ending.value.items() for event in history}
        # A header without a rating is a log without ratings, and that is said.
        is_rated = "no rating column" not in ending.text
        lost = [
            (event.user, event.item, event.rating if is_rated else 1.0, event.time // NANOSECONDS)
            for event in wanted
        ]
        lost = [event for event in lost if event not in found]
        if lost:
            return f"lines that were not touched are not there: {lost[:2]}"
        return "" if len(found) <= len(changed.splitlines()) else "more events than lines"

    return read(path), check


def parquet(random, folder):
    """Types of parquet columns; or a damaged file."""
    events = drawn_log(random)
    path = write_parquet(folder, events, random)
    if random.random() < 0.6:
        return read(path), equals(events)
    path.write_bytes(damaged(path.read_bytes(), random))
    wanted = histories(events)

    def check(ending):
        # A file without checksums cannot tell all damage; what is read stays in range.
        if ending.code == 2:
            return ""
        longest = sum(map(len, wanted.values()))
        events_read = sum(map(len, ending.value.values()))
        return "" if events_read <= longest else f"{events_read} events of {longest}"

    return read(path), check


KINDS = (layouts, times, rewards, ids, structure, parquet)
