"""A whole service in one process on free ports, and a Redis of the test's own."""

import asyncio
import inspect
import shutil
import socket
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import MappingProxyType

import pytest
from live.device import Device, DeviceSettings
from live.http_get import get
from live.redis_server import RedisServer

from recsys_posttrain.live.broker import Broker, EmbeddedBroker
from recsys_posttrain.live.gateway import Gateway, GatewaySettings
from recsys_posttrain.live.keys import Claim, Keys, sign
from recsys_posttrain.live.prefetch import PrefetchServer

SECRET = "tests:a secret of the tests, long enough"
KEYS = Keys({"tests": b"a secret of the tests, long enough"})
EVENT, PATH = "final", "/v1/events/final/prefetch"
STAGES = ("before", "live", "break", "after")
QUICK = DeviceSettings(retry=0.05, longest_retry=0.2, timeout=2.0)


class Lists:
    """Two items per stage that name their user; users whose name starts with u are known."""

    event, stages, version = EVENT, STAGES, "5ca1ab1e"

    def __init__(self):
        self.reads = 0

    def of(self, user):
        self.reads += 1
        items = {stage: [f"{user} {stage} 1", f"{user} {stage} 2"] for stage in STAGES}
        return items if user.startswith("u") else None


def token_of(user, event=EVENT, seconds=900):
    return sign(Claim(user, event, time.time() + seconds), KEYS)


@dataclass
class Service:
    """A prefetch server and gateways; a gateway that was killed can be started on its port."""

    broker: Broker
    settings: GatewaySettings
    tasks: asyncio.TaskGroup
    lists: Lists = field(default_factory=Lists)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    gateways: list[Gateway] = field(default_factory=list)
    running: list[asyncio.Task[None]] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    clients: list[asyncio.Task[None]] = field(default_factory=list)

    def start_prefetch(self, **options):
        listening = socket.create_server(("127.0.0.1", 0))
        self.http = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.prefetch = PrefetchServer(self.lists, KEYS, self.broker, **options)  # type: ignore[arg-type]
        self.tasks.create_task(self.prefetch.run(listening, self.stop))

    def start_gateway(self, port=0):
        listening = socket.create_server(("127.0.0.1", port), backlog=4096)
        gateway = Gateway(EVENT, KEYS, self.settings, seed=len(self.gateways))
        self.gateways.append(gateway)
        self.ports.append(listening.getsockname()[1])
        run = gateway.run(self.broker, listening, self.stop)
        self.running.append(self.tasks.create_task(run))
        return gateway

    async def kill_gateway(self, place):
        """At once, without a word to its devices."""
        for connection in list(self.gateways[place]._open):
            connection.transport.abort()
        self.running[place].cancel()
        with suppress(asyncio.CancelledError):
            await self.running[place]

    def urls(self):
        return tuple(f"ws://127.0.0.1:{port}" for port in dict.fromkeys(self.ports))

    async def ask(self, path=PATH, user="u1", headers=MappingProxyType({})):
        """A GET to the prefetch server with this user's token."""
        token = {"Authorization": f"Bearer {token_of(user)}"}
        return await get(self.http + path, token | headers, 20)

    def device(self, user, settings=QUICK):
        return Device(user, EVENT, lambda: token_of(user), self.http, self.urls(), settings)

    def start(self, device):
        self.clients.append(self.tasks.create_task(device.run()))
        return self.clients[-1]


async def until(holds, seconds=10.0):
    """Waits until something holds; the test fails where it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def _serving(
    broker=None, gateways=1, settings=GatewaySettings(drain=0.05), prefetch=MappingProxyType({})
):
    async with asyncio.TaskGroup() as tasks:
        service = Service(broker or EmbeddedBroker(), settings, tasks)
        service.start_prefetch(**prefetch)
        for _ in range(gateways):
            service.start_gateway()
        try:
            yield service
        finally:
            for client in service.clients:
                client.cancel()
            service.stop.set()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs a test that is a coroutine, for a minute at most."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def in_time():
        async with asyncio.timeout(60):
            await pyfuncitem.obj(**arguments)

    asyncio.run(in_time())
    return True


def _given(name, value):
    return pytest.fixture(lambda: value, name=name)


serving, keys = _given("serving", _serving), _given("keys", KEYS)
given_until, given_token_of = _given("until", until), _given("token_of", token_of)


@pytest.fixture
def secret_file(tmp_path):
    """The key of the tests, as a service reads it."""
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_text(SECRET)
    return path


@pytest.fixture(scope="session")
def needs_redis():
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")


@pytest.fixture
def redis_server(tmp_path, needs_redis):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = RedisServer(tmp_path / "redis", port)
    server.start()
    yield server
    server.kill()
