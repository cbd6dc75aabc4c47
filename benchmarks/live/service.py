"""The service under test, each part a process: Redis, a prefetch server, a producer, gateways and
fleets of devices; and a watch that reads the stream and the fleets' logs."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from live.device import Shown
from live.fleet_log import FleetLog
from live.http_get import get
from live.processes import (
    Process,
    free_ports,
    memory_bytes,
    processor_seconds,
)
from live.random_lists import EVENT, STAGES
from live.redis_server import RedisServer
from recsys_posttrain.errors import UserError
from recsys_posttrain.live.broker import BrokerDown
from recsys_posttrain.live.keys import Claim, Keys, sign
from recsys_posttrain.live.producer import memory_beside
from recsys_posttrain.live.redis_broker import RedisBroker
from recsys_posttrain.live.schedule import Schedule
from recsys_posttrain.live.state import EventState

GATEWAYS, FLEETS = 2, 2
HERE = Path(__file__).parent
DEVICE = HERE.with_name("live_device.py")
PATIENCE = 90.0  # seconds after which what has not come to hold is a broken promise
_STARTS_PER_SECOND = 250  # devices that begin, so that none waits long for its first answers
_DAY = 86_400.0
_FLEET_CLOCK = -60.0  # of the last fleet


@dataclass(frozen=True)
class Bench:
    """devices: each with a socket. seconds: how long a fleet sleeps; other waits are shares."""

    devices: int = 5000
    seconds: float = 60.0
    seed: int = 0

    @property
    def pause(self) -> float:
        """Between a fault and its repair."""
        return self.seconds / 20


class NotRecovered(Exception):
    """The service or a fleet did not go on after a fault."""


class Service:
    """Started by `start`; ends with `kill`."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.states: list[EventState] = []  # as the stream had them, published by the right clock
        self.hit_at = 0.0
        self.processes: dict[str, Process] = {}
        self._folder = folder
        http, redis, *ports = free_ports(2 + 2 * GATEWAYS)
        self.ports, self._metrics_ports = ports[:GATEWAYS], ports[GATEWAYS:]
        self.redis = RedisServer(folder / "redis", redis)
        key = secrets.token_hex(32)
        self.keys = Keys({"bench": key.encode()})
        self.broker = RedisBroker(self.redis.url, self.keys)
        self.http = f"http://127.0.0.1:{http}"
        self.http_port = http
        self._schedule = folder / "schedule.json"
        self._secret = folder / "secret"
        self._secret.touch(mode=0o600)
        self._secret.write_text(f"bench:{key}")
        self._stage = "live"
        self._gone_seconds = 0.0  # of gateways that were killed
        self._empty_bytes: dict[str, int] = {}  # of gateways without connections
        users = [str(user) for user in range(bench.devices)]
        self.logs = [
            FleetLog(
                folder / f"{_fleet(place)}.jsonl",
                users[place::FLEETS],
                _FLEET_CLOCK if place == FLEETS - 1 else 0.0,
            )
            for place in range(FLEETS)
        ]

    async def start(self) -> None:
        """Returns when every device has its lists and a connection, and shows the first state."""
        self.plan(break_in=_DAY)
        self.redis.start()
        self.start_prefetch()
        self.start_gateways()
        for place, log in enumerate(self.logs):
            self._start_fleet(place, log)
        if not await self.until(lambda: self._ready() == self.bench.devices):
            raise UserError(
                f"only {self._ready()} of {self.bench.devices} devices were ready in time: give "
                "fewer --devices"
            )
        self.start_producer()
        await self.published("live")
        if not await self.until(self.is_right):
            raise UserError("the first update did not reach all devices: give fewer --devices")

    def kill(self) -> None:
        """Ends everything."""
        for process in self.processes.values():
            process.kill()
        self.redis.kill()

    def start_gateways(self, *places: int, clock: float = 0.0) -> None:
        """All of them, or those at the given places, each at its port."""
        for place in places or range(GATEWAYS):
            words = "live", "gateway", EVENT, "--port", str(self.ports[place])
            metrics = "--metrics", f"127.0.0.1:{self._metrics_ports[place]}"
            limits = "--per-address", str(self.per_address)
            self._begin(gateway(place), (*words, *metrics, *limits, *self._common()), clock)
        for place in places or range(GATEWAYS):
            process = self.processes[gateway(place)].listens()
            self._empty_bytes[process.name] = memory_bytes(process.pid)

    def kill_gateways(self, *places: int) -> None:
        for place in places or range(GATEWAYS):
            process = self.processes[gateway(place)]
            self._gone_seconds += processor_seconds(process.pid)
            process.kill()

    def start_hostile(self, place: int) -> None:
        """In the place of a gateway that was killed."""
        words = EVENT, str(self.ports[place]), self.redis.url, str(self._secret)
        hostile = Process("hostile", words, self._folder, program=HERE / "hostile.py")
        self.processes["hostile"] = hostile.listens()

    def start_prefetch(self) -> None:
        words = "live", "serve", str(self._folder / "data" / "lists"), "--port", str(self.http_port)
        more = "--schedule", str(self._schedule), "--per-address", str(self.per_address)
        self._begin("prefetch", (*words, *more, *self._common())).listens()

    def start_producer(self, clock: float = 0.0) -> None:
        readers = [self.http, *(f"http://127.0.0.1:{port}" for port in self.ports)]
        asked = [word for url in readers for word in ("--reader", url)]
        words = "live", "produce", str(self._schedule), *self._common(), *asked
        self._begin("producer", words, clock)

    def forget_producer(self) -> None:
        """Deletes the producer's memory; it must not be running."""
        memory_beside(self._schedule, EVENT).unlink()

    def plan(self, break_in: float) -> None:
        """Writes a schedule: live has started, break starts in so many seconds (or had)."""
        starts = {"live": time.time() - _DAY, "break": time.time() + break_in}
        Schedule(EVENT, tuple(STAGES), starts).write(self._schedule)

    def change(self) -> str:
        """Asks for the other stage, live or break; returns it."""
        self._stage = "live" if self._stage == "break" else "break"
        self.plan(break_in=_DAY if self._stage == "live" else -1.0)
        return self._stage

    async def publish(self) -> EventState:
        """Changes the stage; the state, once it is in the stream."""
        return await self.published(self.change())

    async def published(self, stage: str) -> EventState:
        """The newest state, once it is of this stage. Errors: NotRecovered if it does not come."""
        self._stage = stage
        deadline = time.time() + PATIENCE
        while not self.states or self.states[-1].stage != stage:
            if time.time() > deadline:
                raise NotRecovered(f"no update to {stage} came")
            await self.look()
            await asyncio.sleep(0.02)
        return self.states[-1]

    def token_of(self, user: str) -> str:
        """As a device's user gets when signing in."""
        return sign(Claim(user, EVENT, time.time() + _DAY), self.keys)

    def hit(self) -> None:
        """Notes the moment from which a fault's recovery is counted."""
        self.hit_at = time.time()

    async def until(self, holds: Callable[[], bool]) -> bool:
        """Whether it came to hold in time."""
        deadline = time.time() + PATIENCE
        while True:
            await self.look()
            if holds():
                return True
            if time.time() > deadline:
                return False
            await asyncio.sleep(0.05)

    async def look(self) -> None:
        """Reads what is new in the stream and the logs. Errors: NotRecovered for a dead fleet."""
        newest = self.states[-1].version if self.states else 0
        try:
            new = await self.broker.after(EVENT, newest, 0.001)
        except BrokerDown:
            new = []
        clock = self.processes["producer"].clock if "producer" in self.processes else 0.0
        self.states += [replace(state, published=state.published - clock) for state in new]
        for place, log in enumerate(self.logs):
            log.read()
            fleet = self.processes.get(_fleet(place))
            if fleet is not None and not fleet.is_running():
                raise NotRecovered(f"{fleet.name} ended: {fleet.last_words()}")

    @property
    def per_address(self) -> int:
        """Connections from one address: the devices have one, attackers have another."""
        return self.bench.devices + 100

    @property
    def shown(self) -> dict[str, list[Shown]]:
        """What every device has shown so far, by user."""
        return {user: log for each in self.logs for user, log in each.shown.items()}

    def is_right(self) -> bool:
        """Whether every device shows the newest state."""
        newest = self.states[-1].version
        return all(log and log[-1].version == newest for log in self.shown.values())

    def is_connected(self) -> bool:
        """Whether every device has a connection."""
        return self.connections() == self.bench.devices

    def processor_seconds(self) -> float:
        """Of all gateways so far."""
        alive = (self.processes[gateway(place)] for place in range(GATEWAYS))
        return self._gone_seconds + sum(processor_seconds(process.pid) for process in alive)

    def count(self, *names: str) -> int:
        """The newest sum of all devices' counters of these names."""
        return sum(log.count(*names) for log in self.logs)

    async def bytes_per_connection(self) -> float:
        """What the gateways hold more than without connections, by connection."""
        held = connections = 0.0
        for place, port in enumerate(self._metrics_ports):
            process = self.processes[gateway(place)]
            text = (await get(f"http://127.0.0.1:{port}/metrics", {}, 10)).body.decode()
            values = dict(line.rsplit(" ", 1) for line in text.splitlines())
            connections += float(values["live_gateway_connections"])
            held += memory_bytes(process.pid) - self._empty_bytes[process.name]
        return held / max(1.0, connections)

    def _start_fleet(self, place: int, log: FleetLog) -> None:
        urls = [word for port in self.ports for word in ("--gateway", f"ws://127.0.0.1:{port}")]
        words = [EVENT, "--users", ",".join(log.shown), "--secret-file", str(self._secret)]
        words += ["--prefetch", self.http, *urls]
        words += ["--spread", str(self.bench.devices / _STARTS_PER_SECOND)]
        words += ["--log", str(self._folder / f"{_fleet(place)}.jsonl")]
        fleet = Process(_fleet(place), words, self._folder, log.clock, DEVICE)
        self.processes[_fleet(place)] = fleet

    def _begin(self, name: str, words: Sequence[str], clock: float = 0.0) -> Process:
        self.processes[name] = Process(name, words, self._folder, clock)
        return self.processes[name]

    def _common(self) -> tuple[str, ...]:
        return "--secret-file", str(self._secret), "--redis", self.redis.url

    def _ready(self) -> int:
        return min(self.count("prefetch_200"), self.connections())

    def connections(self) -> int:
        """How many devices have one."""
        return self.count("connections") - self.count("disconnections")


def gateway(place: int) -> str:
    return f"gateway-{place}"


def _fleet(place: int) -> str:
    return f"fleet-{place}"
