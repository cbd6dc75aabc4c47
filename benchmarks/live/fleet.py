"""Devices of many users in one process, and a log of what they showed, as lines of JSON.

    python benchmarks/live/fleet.py SPREAD LOG EVENT USERS SECRET_FILE PREFETCH_URL GATEWAY_URL...

    {"at": 1.5, "counters": {...}}                            sums over all devices, at each look
    {"user": "7", "shown": [1.4, 3, "live", ["12", "9"]]}     a device's `Shown`

The bench starts it by its path, so it imports nothing from beside it. Each device starts at a
random time within SPREAD seconds.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np

from recsys_posttrain.endings import exit_code
from recsys_posttrain.live.device import Device, Shown
from recsys_posttrain.live.keys import Claim, read_keys, sign
from recsys_posttrain.live.running import run_to_the_end
from recsys_posttrain.seeding import derived_seed

_LOOK_SECONDS = 0.1
_TOKEN_SECONDS = 86_400


async def play(devices: dict[str, Device], spread: float, log: TextIO) -> None:
    """Runs the devices for ever and logs what they show, and their counters ten times a second.

    Errors: UserError where a token is refused.
    """
    counters: Counter[str] = Counter()
    generator = np.random.default_rng(derived_seed(0, "fleet", *devices))

    def hear(user: str, shown: Shown) -> None:
        log.write(json.dumps({"user": user, "shown": [*astuple(shown)]}) + "\n")

    async def run(device: Device) -> None:
        await asyncio.sleep(generator.uniform(0, spread))
        await device.run()

    async with asyncio.TaskGroup() as tasks:
        for user, device in devices.items():
            device.counters, device.hear = counters, partial(hear, user)
            tasks.create_task(run(device))
        while True:
            log.write(json.dumps({"at": time.time(), "counters": counters}) + "\n")
            log.flush()
            await asyncio.sleep(_LOOK_SECONDS)


def main() -> None:
    spread, log, event, users, secret_file, prefetch, *gateways = sys.argv[1:]
    keys = read_keys(Path(secret_file))

    def token(user: str) -> str:
        return sign(Claim(user, event, time.time() + _TOKEN_SECONDS), keys)

    devices = {
        user: Device(user, event, partial(token, user), prefetch, tuple(gateways))
        for user in users.split(",")
    }
    with Path(log).open("w", encoding="utf-8") as file:
        run_to_the_end(play(devices, float(spread), file))


if __name__ == "__main__":
    sys.exit(exit_code(main))
