"""A whole event in one process: prefetch, a start that moves, a killed gateway, an end by hand.

A killed gateway here is a task that is cancelled after its sockets were aborted: its devices get no
word, as from a process that died.
"""

import asyncio
import gc
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from live.demo_report import Recording, Sample
from live.device import Device, DeviceSettings
from live.random_lists import EVENT, STAGES, random_lists
from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.live.broker import EmbeddedBroker
from recsys_posttrain.live.door import Limits
from recsys_posttrain.live.gateway import Gateway, GatewaySettings
from recsys_posttrain.live.keys import Claim, Keys, sign
from recsys_posttrain.live.materialized import Materialized
from recsys_posttrain.live.prefetch import PrefetchServer, PrefetchSettings
from recsys_posttrain.live.producer import Producer
from recsys_posttrain.live.running import run_to_the_end
from recsys_posttrain.live.schedule import Schedule, ScheduleFile
from recsys_posttrain.seeding import derived_seed

KEYS, HOST = Keys({"demo": b"a secret of the demo alone"}), "127.0.0.1"
_SAMPLE_SECONDS, _DRAIN_SECONDS = 0.1, 0.5

# The story, as shares of its length.
_OPENED, _PREPARED = 0.125, 0.25  # all apps are open; all devices have prefetched
_MOVED, _SHIFT = 0.33, 0.05  # when the starts to come are moved, and by how much
_STARTS = {"live": 0.40, "break": 0.51}  # as planned at first
_KILLED, _RETURNED, _ENDED = 0.55, 0.70, 0.85
_REPORTED = 1 / 24
_FROM_HERE = Limits(per_address=10_000)  # all devices have one address
_RETRY, _LONGEST_RETRY = 1 / 40, 1 / 8


@dataclass(frozen=True)
class Demo:
    """How many devices, over how many seconds."""

    devices: int = 500
    seconds: float = 120.0
    seed: int = 0


class ModelCalls:
    """Counts the calls of every torch module in this process."""

    def __init__(self) -> None:
        self.count = 0
        torch.nn.modules.module.register_module_forward_pre_hook(self._add)

    def _add(self, module: torch.nn.Module, inputs: object) -> None:
        self.count += 1


class Service:
    """An embedded broker, a prefetch server and gateways that can be killed and started again."""

    def __init__(self, lists: Materialized, schedule: Path, tasks: asyncio.TaskGroup) -> None:
        self.broker, self.stop = EmbeddedBroker(), asyncio.Event()
        self.prefetch = PrefetchServer(
            lists, KEYS, self.broker, ScheduleFile(schedule), PrefetchSettings(limits=_FROM_HERE)
        )
        self.gateways: list[Gateway] = []
        self._tasks = tasks
        self._running: list[asyncio.Task[None]] = []
        self._ports: list[int] = []
        listening = socket.create_server((HOST, 0), backlog=4096)
        self.http = f"http://{HOST}:{listening.getsockname()[1]}"
        tasks.create_task(self.prefetch.run(listening, self.stop))

    def start_gateway(self, port: int = 0) -> str:
        """Its URL; port 0: any that is free."""
        listening = socket.create_server((HOST, port), backlog=4096)
        self._ports.append(listening.getsockname()[1])
        settings = GatewaySettings(drain=_DRAIN_SECONDS, per_address=_FROM_HERE.per_address)
        gateway = Gateway(EVENT, KEYS, settings, seed=len(self.gateways))
        self.gateways.append(gateway)
        run = gateway.run(self.broker, listening, self.stop)
        self._running.append(self._tasks.create_task(run))
        return f"ws://{HOST}:{self._ports[-1]}"

    async def kill_gateway(self, place: int) -> None:
        for connection in list(self.gateways[place]._open):
            connection.transport.abort()
        self._running[place].cancel()
        with suppress(asyncio.CancelledError):
            await self._running[place]

    def restart_gateway(self, place: int) -> None:
        self.start_gateway(self._ports[place])

    def requests(self, route: str) -> int:
        """What the prefetch server was asked so far on a route."""
        counters = self.prefetch.counters
        start = f'requests{{route="{route}"'
        return sum(count for name, count in counters.items() if name.startswith(start))


async def play(
    demo: Demo,
    lists: Materialized,
    calls: ModelCalls,
    schedule: Path,
    say: Callable[[float, str], None],
) -> Recording:
    """The event, in real time. `say` hears, with the second of the story, what happens.

    Errors: UserError where the devices are not ready when the event comes.
    """
    start, users = time.time(), [str(user) for user in range(demo.devices)]
    starts = {stage: start + share * demo.seconds for stage, share in _STARTS.items()}
    Schedule(EVENT, tuple(STAGES), starts).write(schedule)
    settings = DeviceSettings(
        spread=(_PREPARED - _OPENED) * demo.seconds,
        retry=_RETRY * demo.seconds,
        longest_retry=_LONGEST_RETRY * demo.seconds,
    )
    generator = np.random.default_rng(derived_seed(demo.seed, "live_demo_devices"))
    moments: dict[str, float] = {}
    samples: list[Sample] = []

    def sample() -> None:
        reconnects = sum(max(0, each.counters["connections"] - 1) for each in devices.values())
        asked = service.requests("prefetch"), service.requests("state")
        samples.append(Sample(time.time() - start, reconnects, *asked))

    def moment(name: str, text: str) -> None:
        sample()
        moments[name] = samples[-1].at
        say(moments[name], text)

    async def until(share: float) -> None:
        await asyncio.sleep(max(0.0, start + share * demo.seconds - time.time()))

    def token(user: str) -> str:
        return sign(Claim(user, EVENT, start + demo.seconds + 3600), KEYS)

    async def open_app(device: Device) -> None:
        await asyncio.sleep(generator.uniform(0, _OPENED * demo.seconds))
        await device.run()

    async def watch() -> None:
        while True:
            sample()
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def report() -> None:
        while True:
            await asyncio.sleep(_REPORTED * demo.seconds)
            say(time.time() - start, _at_a_glance(devices))

    async with asyncio.TaskGroup() as tasks:
        service = Service(lists, schedule, tasks)
        urls = tuple(service.start_gateway() for _ in range(2))
        devices = {
            user: Device(user, EVENT, partial(token, user), service.http, urls, settings)
            for user in users
        }
        background = [tasks.create_task(open_app(device)) for device in devices.values()]
        background += [tasks.create_task(watch()), tasks.create_task(report())]
        say(0, f"{demo.devices} devices open their apps and prefetch, each at a random time")

        await until(_PREPARED)
        await _all_ready(devices, start + _MOVED * demo.seconds)
        calls_before = calls.count
        background.append(tasks.create_task(Producer(ScheduleFile(schedule), service.broker).run()))
        moment("announced", "all have prefetched; the producer starts: before")

        await until(_MOVED)
        planned = ScheduleFile(schedule).current()
        planned.delayed(_SHIFT * demo.seconds, time.time()).write(schedule)
        shift = f"{_SHIFT * demo.seconds:g} s later"
        moment("schedule moved", f"the schedule's file is changed: live and break {shift}")

        await until(_STARTS["live"] + _SHIFT)
        say(time.time() - start, "live")
        await until(_KILLED)
        moment("gateway killed", "one of two gateways is killed, just before the break")
        await service.kill_gateway(0)
        await until(_STARTS["break"] + _SHIFT)
        say(time.time() - start, "break")
        await until(_RETURNED)
        service.restart_gateway(0)
        moment("gateway back", "the gateway is back")

        await until(_ENDED)
        ScheduleFile(schedule).current().finished().write(schedule)
        moment("ended by hand", "a person ends the event: after")
        await until(1.0)
        calls_at_event = calls.count - calls_before
        states = await service.broker.after(EVENT, 0, 0)
        for task in background:
            task.cancel()
        service.stop.set()
    messages = sum(gateway.counters["messages"] for gateway in service.gateways)
    return Recording(
        start, demo.seconds, states, devices, lists, samples, moments, messages, calls_before,
        calls_at_event,
    )  # fmt: skip


def _at_a_glance(devices: dict[str, Device]) -> str:
    ready = sum(bool(device.stages) for device in devices.values())
    counters = [device.counters for device in devices.values()]
    connected = sum(each["connections"] - each["disconnections"] for each in counters)
    shown = Counter(device.shown[-1].stage for device in devices.values() if device.shown)
    stages = "".join(f", {count} show {stage}" for stage, count in shown.items())
    return f"  {ready} have their lists, {connected} are connected{stages}"


async def _all_ready(devices: dict[str, Device], deadline: float) -> None:
    while (ready := sum(bool(device.stages) for device in devices.values())) < len(devices):
        if time.time() > deadline:
            raise UserError(
                f"only {ready} of {len(devices)} devices have prefetched in time: give fewer "
                "--devices or more --seconds"
            )
        await asyncio.sleep(0.05)


def run(demo: Demo, output: Path, say: Callable[[float, str], None]) -> Recording:
    """Makes the lists under `output` and plays the event. Errors: UserError, as `play`."""
    require(demo.devices >= 2, f"--devices {demo.devices}: give 2 or more")
    require(demo.seconds >= 4, f"--seconds {demo.seconds:g}: give 4 or more")
    # A kill breaks handshakes that are on their way; each would be logged with its traceback.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    calls = ModelCalls()
    lists = random_lists(demo.devices, demo.seed, output / "lists")
    require(calls.count, "the demo's policy was not called: its count of model calls is wrong")
    gc.collect()
    gc.freeze()  # else collections walk all that torch has loaded, and every device waits
    recordings: list[Recording] = []

    async def work() -> None:
        recordings.append(await play(demo, lists, calls, output / "schedule.json", say))

    run_to_the_end(work())
    return recordings[0]
