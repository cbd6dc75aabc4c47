"""Several devices in one process, and the log of what they showed, as lines of JSON.

{"at": 1.5, "counters": {...}}                            of all of them together, at each look
{"user": "7", "shown": [1.4, 3, "live", ["12", "9"]]}     a device's `Shown`
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import astuple
from typing import TextIO

import numpy as np

from recsys_posttrain.live.device import Device, Shown
from recsys_posttrain.seeding import derived_seed

_LOOK_SECONDS = 0.1

Hear = Callable[[str, Shown], None]


async def play(
    devices: Mapping[str, Device], spread: float, hear: Hear, look: Callable[[Counter[str]], None]
) -> None:
    """Runs a device per user for ever, each from a random time within `spread` seconds on.

    hear: told of everything that one showed. look: of the counters of all, ten times a second.
    Errors: UserError where a token is refused.
    """
    counters: Counter[str] = Counter()
    generator = np.random.default_rng(derived_seed(0, "fleet", *devices))
    heard: dict[str, Shown | None] = dict.fromkeys(devices)

    async def run(device: Device) -> None:
        await asyncio.sleep(generator.uniform(0, spread))
        await device.run()

    async with asyncio.TaskGroup() as tasks:
        for device in devices.values():
            device.counters = counters
            tasks.create_task(run(device))
        while True:
            for user, device in devices.items():
                if device.shown and device.shown[-1] is not heard[user]:
                    for shown in _after(device, heard[user]):
                        hear(user, shown)
                    heard[user] = device.shown[-1]
            look(counters)
            await asyncio.sleep(_LOOK_SECONDS)


def _after(device: Device, last: Shown | None) -> list[Shown]:
    new: list[Shown] = []
    for shown in reversed(device.shown):
        if shown is last:
            break
        new.append(shown)
    return new[::-1]


def write_shown(file: TextIO, user: str, shown: Shown) -> None:
    """A line of what a device showed."""
    file.write(json.dumps({"user": user, "shown": [*astuple(shown)]}) + "\n")


def write_counters(file: TextIO, counters: Counter[str]) -> None:
    """A line of counters; what was written before is in the file then."""
    file.write(json.dumps({"at": time.time(), "counters": counters}) + "\n")
    file.flush()
