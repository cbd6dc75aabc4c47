"""The herd in tables: peaks of each habit, over draws, and what an overloaded server is asked."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from herd.model import (
    Herd,
    Shares,
    fetch_on_push,
    latecomers,
    peak,
    prefetch,
    refreshes,
    requests,
)
from herd.overload import Retry, overload

FIXED_WAIT = Retry(after_seconds=30, base_seconds=1, cap_seconds=1)

Habit = tuple[int, Shares]  # how many devices, and when one of them asks


def event_habits(herd: Herd) -> dict[str, Habit]:
    """Fetching on the push against prefetching."""
    window = f"{herd.window_hours:g} h"
    late = f"missed by it, after up to {herd.late_seconds} s"
    jittered = f"fetch on push, after up to {herd.jitter_seconds} s"
    return {
        "fetch on push": (herd.devices, fetch_on_push(herd, is_jittered=False)),
        jittered: (herd.devices, fetch_on_push(herd, is_jittered=True)),
        f"prefetch over {window}": (herd.devices - herd.late_devices, prefetch(herd)),
        late: (herd.late_devices, latecomers(herd)),
    }


def refresh_habits(herd: Herd) -> dict[str, Habit]:
    """A burst of app starts and its echoes, with fixed and with jittered lifetimes."""
    habits = {}
    for name, jitter in (("fixed", 0.0), (f"±{herd.lifetime_jitter:.0%}", herd.lifetime_jitter)):
        for cycle, share_T in enumerate(refreshes(herd, jitter)):
            title = f"{name} lifetime, refresh {cycle}" if cycle else f"{name} lifetime, the burst"
            habits[title] = (herd.devices, share_T)
    return habits


def peaks(habits: Mapping[str, Habit], draws: int, generator: np.random.Generator) -> pd.DataFrame:
    """One row per habit: requests, and peak requests/s in bins of 1 s and 10 s.

    expected: of the busiest second. The peaks are medians of so many draws, 1 s also lowest and
    highest.
    """
    rows = {}
    for name, (devices, share_T) in habits.items():
        drawn = [requests(devices, share_T, generator) for _ in range(draws)]
        highest_D = np.array([peak(requests_T) for requests_T in drawn])
        rows[name] = {
            "requests": devices,
            "expected": devices * share_T.max(),
            "1 s": np.median(highest_D),
            "lowest": highest_D.min(),
            "highest": highest_D.max(),
            "10 s": np.median([peak(requests_T, 10) for requests_T in drawn]),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def overloads(
    herd: Herd,
    retries: Mapping[str, Retry],
    generator: np.random.Generator,
    seconds: int = 7200,
) -> pd.DataFrame:
    """One row per way to fetch on the push and to retry, in one draw: what the server is asked.

    99% after: seconds from the broadcast until so many devices are served.
    """
    rows = {}
    for way, (devices, share_T) in list(event_habits(herd).items())[:2]:
        first_T = np.zeros(seconds, dtype=np.int64)
        first_T[: len(share_T)] = requests(devices, share_T, generator)
        for name, retry in retries.items():
            load = overload(first_T, herd.capacity, retry, generator)
            rows[f"{way}; retry {name}"] = {
                "peak requests/s": peak(load.asked_T),
                "of retries": peak(load.retried_T),
                "requests per device": load.asked_T.sum() / devices,
                "99% after": load.seconds_until(0.99, devices),
            }
    return pd.DataFrame.from_dict(rows, orient="index")
