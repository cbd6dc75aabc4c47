"""Eleven forms of one small log with string ids, as practitioners have them: what users watched,
when and how they liked it. The last item of each user and the order of events are the same in all.
"""

import numpy as np
import pandas as pd

USERS, ITEMS, EVENTS, START = 50, 30, 12, 1_700_000_000
DAY = 86_400


def events(seed=0):
    """Who liked even items is shown more of them; stars from 1 to 5, one event a day."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        taste = np.where(np.arange(ITEMS) % 2 == user % 2, 3.0, 1.0)
        items = rng.choice(ITEMS, EVENTS, replace=False, p=taste / taste.sum())
        stars = np.clip(np.rint(2.5 + taste[items] / 2 + rng.normal(0, 1, EVENTS)), 1, 5)
        for place in range(EVENTS):
            time = START + place * DAY + user
            rows.append((f"user-{user:02}", f"film {items[place]:02}", stars[place], time))
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    return frame.sort_values("timestamp", kind="stable", ignore_index=True)


def binary():
    return events().assign(rating=lambda frame: (frame["rating"] >= 4).astype(int))


def seconds_watched():
    rng = np.random.default_rng(1)
    watched = events()["rating"] * 400 * rng.uniform(0.5, 1.5, USERS * EVENTS)
    return events().assign(rating=watched.round(1))


def plus_minus_1():
    return events().assign(rating=lambda frame: np.where(frame["rating"] >= 3, 1, -1))


def other_names():
    return events().rename(
        columns={"user_id": "viewer", "item_id": "title", "rating": "grade", "timestamp": "when"}
    )


def duplicates():
    return pd.concat([events(), events().iloc[[5, 17, 17]]], ignore_index=True)


def iso_dates():
    frame = events()
    moments = pd.to_datetime(frame["timestamp"], unit="s", utc=True)
    return frame.assign(timestamp=moments.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


FORMS = {
    "stars": events,
    "binary": binary,
    "seconds": seconds_watched,
    "constant": lambda: events().assign(rating=1.0),
    "plus_minus_1": plus_minus_1,
    "no_rating": lambda: events().drop(columns="rating"),
    "milliseconds": lambda: events().assign(timestamp=lambda frame: frame["timestamp"] * 1000),
    "other_names": other_names,
    "duplicates": duplicates,
    "iso_dates": iso_dates,
    "semicolons": events,
}


def write(name, folder):
    path = folder / f"{name}.csv"
    FORMS[name]().to_csv(path, index=False, sep=";" if name == "semicolons" else ",")
    return path
