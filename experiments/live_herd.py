"""Requests per second around a live event, by the herd model: 10^6 to 10^8 devices.

    python experiments/live_herd.py [--output FOLDER]
    python experiments/live_herd.py --set devices=10000000 --set window_hours=12

A plain script, not a study. Fetching on the push against prefetching over windows of hours, cache
refreshes with fixed and jittered lifetimes, and retries against a server with too little capacity.
Writes table.md, herd.png and results.json. With --set it prints the tables of one herd of yours and
writes nothing.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from herd.model import Herd, even
from herd.overload import Retry
from herd.pictures import draw
from herd.tables import (
    FIXED_WAIT,
    event_habits,
    overloads,
    peaks,
    refresh_habits,
)

from recsys_posttrain.config import describe
from recsys_posttrain.endings import exit_code
from recsys_posttrain.files import write_json, write_text
from recsys_posttrain.override import override
from recsys_posttrain.provenance import git_commit, package_versions
from recsys_posttrain.seeding import derived_seed

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python experiments/live_herd.py"
DEVICES = (10**6, 10**7, 10**8)
HOURS = (1.0, 2.0, 4.0, 6.0, 12.0, 24.0)
RETRIES = {
    "after 30 s": FIXED_WAIT,
    "full jitter, 1 s + up to 2, 4, ..., 64 s": Retry(1, 2, 64),
    "1 s + up to 256 s at once": Retry(1, 256, 256),
}
SEED = 0
COLUMNS = (
    "Requests/s in the busiest second (1 s: median of the draws, lowest, highest; expected: of the "
    "second with the highest mean) and in the busiest 10 seconds (median). Times below: fetching "
    "on the push, after up to 60 s. Retries: one draw; 99% after: seconds from the broadcast."
)


def markdown(title: str, frame: pd.DataFrame) -> str:
    """A section with the frame's rows; numbers to the tenth where they are not whole."""
    head = ["", *map(str, frame.columns)]
    rows = [
        [str(name), *map(_written, row)]
        for name, row in zip(frame.index, frame.to_numpy(), strict=True)
    ]
    lines = [head, [":--", *["--:"] * len(frame.columns)], *rows]
    return "\n".join([f"## {title}", "", *(f"| {' | '.join(line)} |" for line in lines)])


def _written(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 or number == round(number) else f"{number:,.1f}"


def event_frame(herd: Herd, draws: int, generator: np.random.Generator) -> pd.DataFrame:
    """With the ratio to fetching on the push at its best, which has its jitter."""
    frame = peaks(event_habits(herd), draws, generator)
    return frame.assign(**{"times below": frame["1 s"].iloc[1] / frame["1 s"]})


def window_frame(draws: int, generator: np.random.Generator) -> pd.DataFrame:
    """Median peak requests/s in bins of 1 s, one column per number of devices."""
    columns = {}
    for devices in DEVICES:
        habits = {f"{hours:g} h": (devices, even(round(hours * 3600))) for hours in HOURS}
        columns[f"{devices:,}"] = peaks(habits, draws, generator)["1 s"]
    return pd.DataFrame(columns)


def print_one(assignments: list[str], draws: int, seed: int) -> None:
    """The tables of a herd with fields changed. Errors: UserError for what cannot be set."""
    herd = Herd()
    for assignment in assignments:
        herd = override(herd, assignment)
    generator = np.random.default_rng(derived_seed(seed, "herd"))
    retries = {"fixed": FIXED_WAIT, "as set": herd.retry}
    frames = {
        "Peak requests/s at an event": peaks(event_habits(herd), draws, generator),
        "Peak requests/s of cache refreshes": peaks(refresh_habits(herd), draws, generator),
        f"A server of {herd.capacity:,} requests/s": overloads(herd, retries, generator),
    }
    for title, frame in frames.items():
        print(f"{title}\n{frame.to_string(float_format='{:,.1f}'.format)}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "experiments" / "results" / "live_herd"
    parser.add_argument("--output", type=Path, default=default, help="folder for the results")
    parser.add_argument("--draws", type=int, default=100, help="of each peak")
    parser.add_argument("--seed", type=int, default=SEED, help="of the draws")
    parser.add_argument(
        "--set", action="append", metavar="NAME=VALUE", help="change a field of the herd; repeat it"
    )
    arguments = parser.parse_args()
    if arguments.set:
        print_one(arguments.set, arguments.draws, arguments.seed)
        return
    generator = np.random.default_rng(derived_seed(arguments.seed, "live_herd"))
    herd = Herd()
    frames = {
        f"At the event, {devices:,} devices": event_frame(
            replace(herd, devices=devices), arguments.draws, generator
        )
        for devices in DEVICES
    }
    fetching = {
        devices: float(frame["1 s"].iloc[1])
        for devices, frame in zip(DEVICES, frames.values(), strict=True)
    }
    windows = window_frame(arguments.draws, generator)
    frames["Peak of prefetching, by window and devices"] = windows
    frames["Caches that expire together, 1,000,000 devices"] = peaks(
        refresh_habits(herd), arguments.draws, generator
    )
    frames["Fetch on push with 5,000 requests/s of capacity"] = overloads(herd, RETRIES, generator)
    arguments.output.mkdir(parents=True, exist_ok=True)
    draw(
        herd,
        {
            hours: dict(zip(DEVICES, row, strict=True))
            for hours, row in zip(HOURS, windows.to_numpy().tolist(), strict=True)
        },
        fetching,
        RETRIES,
        generator,
        arguments.output / "herd.png",
    )
    head = {"command": COMMAND, "commit": git_commit(), "versions": package_versions()}
    tables = {title: frame.to_dict("index") for title, frame in frames.items()}
    write_json(
        arguments.output / "results.json",
        {**head, "herd": describe(herd), "draws": arguments.draws, "tables": tables},
    )
    figure = "![Requests per second around a live event](herd.png)"
    sections = [__doc__.splitlines()[0], COLUMNS, figure]
    sections += [markdown(*item) for item in frames.items()]
    write_text(arguments.output / "table.md", "\n\n".join(sections) + "\n")
    print("\n\n".join(sections))


if __name__ == "__main__":
    sys.exit(exit_code(main))
