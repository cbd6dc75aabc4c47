"""Devices of many users in one process, and the log of what they showed, as lines of JSON.

{"at": 1.5, "counters": {...}}                            sums over all devices, at each look
{"user": "7", "shown": [1.4, 3, "live", ["12", "9"]]}     a device's `Shown`
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import astuple
from functools import partial
from typing import TextIO

import numpy as np

from live.device import Device, Shown
from recsys_posttrain.seeding import derived_seed

_LOOK_SECONDS = 0.1


async def play(
    devices: Mapping[str, Device],
    spread: float,
    hear: Callable[[str, Shown], None],
    look: Callable[[Counter[str]], None],
) -> None:
    """Runs a device per user for ever, each from a random time within `spread` seconds on.

    hear: told of everything that one shows. look: of the counters of all, ten times a second.
    Errors: UserError where a token is refused.
    """
    counters: Counter[str] = Counter()
    generator = np.random.default_rng(derived_seed(0, "fleet", *devices))

    async def run(device: Device) -> None:
        await asyncio.sleep(generator.uniform(0, spread))
        await device.run()

    async with asyncio.TaskGroup() as tasks:
        for user, device in devices.items():
            device.counters, device.hear = counters, partial(hear, user)
            tasks.create_task(run(device))
        while True:
            look(counters)
            await asyncio.sleep(_LOOK_SECONDS)


def write_shown(file: TextIO, user: str, shown: Shown) -> None:
    """A line of what a device showed."""
    file.write(json.dumps({"user": user, "shown": [*astuple(shown)]}) + "\n")


def write_counters(file: TextIO, counters: Counter[str]) -> None:
    """A line of counters; what was written before is in the file then."""
    file.write(json.dumps({"at": time.time(), "counters": counters}) + "\n")
    file.flush()
