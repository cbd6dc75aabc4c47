"""What a stranger, or a thief of one token, can do to the servers; devices must not notice."""

import asyncio
import socket
import time

import pytest
from live.attacks import HERE, crowd, handshake, is_open, ping_flood, status
from live.device import Device, DeviceSettings

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.door import Door, Limits
from recsys_posttrain.live.gateway import GatewaySettings
from recsys_posttrain.live.keys import Claim, sign
from recsys_posttrain.live.prefetch import PrefetchSettings
from recsys_posttrain.live.state import EventState

PATH = "/v1/events/final/prefetch"


def _port(url):
    return int(url.rpartition(":")[2])


@pytest.mark.parametrize(
    ("limits", "source", "held"),
    [
        (Limits(per_address=500), "127.0.0.2", 500),
        (Limits(per_address=500), HERE, 500),
        (Limits(connections=400), "127.0.0.2", 400),
    ],
    ids=["another address", "the devices' own address", "all addresses together"],
)
async def test_silent_connections_do_not_keep_devices_out(serving, until, limits, source, held):
    # Nobody's time is up meanwhile: it is the limits that make room.
    settings = PrefetchSettings(limits=limits, request=60)
    async with serving(prefetch={"settings": settings}) as service:
        async with crowd(_port(service.http), 2000, b"GET /v1/ev", source) as silent:
            for _ in range(20):
                assert (await service.ask()).status == 200
            await until(lambda: sum(map(is_open, silent)) <= held)
        closed = sum(n for name, n in service.prefetch.counters.items() if "closed" in name)
        assert closed >= 2000 - held
        await until(lambda: Door._files < 100)


async def test_connections_that_have_had_their_answer_do_not_keep_devices_out(serving, until):
    settings = PrefetchSettings(limits=Limits(connections=20), request=60)
    asked = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    async with (
        serving(prefetch={"settings": settings}) as service,
        crowd(_port(service.http), 20, asked) as idle,
    ):
        await until(lambda: all(map(_is_answered, idle)))
        for _ in range(5):
            assert (await service.ask()).status == 200


def _is_answered(connection):
    try:
        return connection.recv(1, socket.MSG_PEEK) == b"H"
    except BlockingIOError:
        return False


async def test_silent_connections_do_not_keep_devices_from_a_gateway(serving, until, monkeypatch):
    monkeypatch.setattr("recsys_posttrain.live.gateway.REQUEST_SECONDS", 60.0)
    settings = GatewaySettings(connections=50, per_address=400, drain=0.05)
    async with serving(settings=settings) as service:
        async with crowd(service.ports[0], 2000, b"GET /v1/ev", HERE) as silent:
            devices = [service.device(f"u{number}") for number in range(20)]
            for device in devices:
                service.start(device)
            await until(lambda: len(service.gateways[0]._open) == 20)
            await service.broker.append(EventState("final", 1, "live", 1.0))
            await until(lambda: all(device.shown for device in devices))
            assert sum(map(is_open, silent)) <= 400
        assert {device.counters["disconnections"] for device in devices} == {0}


async def test_a_request_that_does_not_come_whole_in_time_ends(serving, token_of, until):
    """At first, after an answer, and byte by byte; and so does an answer that nobody takes."""
    settings = PrefetchSettings(request=0.6)
    async with serving(prefetch={"settings": settings}) as service:
        port = _port(service.http)
        token = f"Authorization: Bearer {token_of('u1')}\r\n\r\n"
        whole = f"GET {PATH} HTTP/1.1\r\nHost: x\r\n{token}".encode()
        async with crowd(port, 3, b"GET /v1/events/fin") as silent:
            silent[1].sendall(whole[18:])
            await until(lambda: b"200 OK" in _read(silent[1]))
            began = time.monotonic()
            while any(map(is_open, silent)):
                assert time.monotonic() - began < 5, "a trickle is kept"
                for each in silent[1:]:
                    _send(each, b"x")
                await asyncio.sleep(0.05)
            assert time.monotonic() - began > 0.3
        # Requests one after another whose answers, long ones, are never read.
        service.lists.of = lambda user: {"live": ["x" * 1000] * 1000}
        async with crowd(port, 1) as (greedy,):
            began = time.monotonic()
            while time.monotonic() - began < 8 and _send(greedy, whole * 50):
                await asyncio.sleep(0.01)
            assert time.monotonic() - began < 8, "an answer that nobody takes is kept"
        assert service.prefetch.counters['closed{why="slow"}'] >= 4


def _read(connection):
    try:
        return connection.recv(65_536)
    except BlockingIOError:
        return b""


def _send(connection, data):
    """Whether the connection is there; what does not fit now is not sent."""
    try:
        connection.send(data)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


async def test_a_flood_of_pings_costs_the_connection_and_no_memory(serving, token_of, until):
    async with serving() as service:
        gateway, request = service.gateways[0], handshake("final", token_of("u1"))
        device = service.device("u2")
        service.start(device)
        await until(lambda: len(gateway._open) == 1)
        sent = await ping_flood(service.ports[0], request, 5.0)
        # What the system holds in its own buffers on the way is not the gateway's.
        assert sent < 10 * 2**20
        assert gateway.counters['closed{why="flood"}'] == 1
        await until(lambda: len(gateway._open) == 1)
        await service.broker.append(EventState("final", 1, "live", 1.0))
        await until(lambda: bool(device.shown))
        assert device.counters["connections"] == 1


async def test_answers_to_pings_that_are_not_read_cost_the_connection(serving, token_of, until):
    settings = GatewaySettings(received_bytes=10**9, unsent_bytes=4096, drain=0.05)
    async with serving(settings=settings) as service:
        request = handshake("final", token_of("u1"))
        flooding = asyncio.create_task(ping_flood(service.ports[0], request, 10.0))
        counters = service.gateways[0].counters
        await until(lambda: counters['closed{why="slow"}'] == 1)
        await flooding
        await until(lambda: not service.gateways[0]._held)


async def test_one_token_opens_so_many_connections_and_no_more(serving, token_of, until):
    async with serving() as service:
        gateway, port = service.gateways[0], service.ports[0]
        request = handshake("final", token_of("u1"))
        opened = await asyncio.gather(*(status(port, request) for _ in range(60)))
        assert sorted(code for code, _ in opened) == [101] * 10 + [429] * 50
        code, other = await status(port, handshake("final", token_of("u2")))
        assert code == 101
        for _, writer in opened:
            writer.close()
        await until(lambda: gateway._accepted == {"u2": 1})
        code, again = await status(port, request)
        assert code == 101
        for writer in (other, again):
            writer.close()
        assert gateway.counters['refused{status="429"}'] == 50


@pytest.mark.parametrize(("proxies", "accepted"), [((HERE,), 8), ((), 5)], ids=str)
async def test_a_clients_address_is_believed_of_a_trusted_proxy_only(
    serving, token_of, until, proxies, accepted
):
    """Each request says that it is of another address: that helps none but the proxy's clients."""
    settings = GatewaySettings(per_address=5, proxies=proxies, drain=0.05)
    async with serving(settings=settings) as service:

        async def codes(addresses):
            found = []
            for number, address in enumerate(addresses):
                more = f"X-Forwarded-For: 9.9.9.9, {address}\r\n"
                request = handshake("final", token_of(f"u{address}{number}"), more)
                found.append(await status(service.ports[0], request))
            held = [code for code, _ in found]
            for _, writer in found:
                writer.close()
            await until(lambda: not service.gateways[0]._held)
            return held

        different = await codes([f"10.0.0.{number}" for number in range(8)])
        assert different.count(101) == accepted
        assert (await codes(["10.0.0.1"] * 8)).count(101) == 5
        # Of IPv6 a client has a whole network.
        assert (await codes([f"2001:db8::{n}" for n in range(8)])).count(101) == 5


def test_a_trusted_proxy_is_an_address():
    with pytest.raises(UserError, match="a trusted proxy is an IP address, not 'proxy'"):
        Limits(proxies=("proxy",))


async def test_a_connection_ends_with_its_token_and_a_device_gets_another(serving, keys, until):
    async with serving() as service:
        asked: list[float] = []

        def token():
            asked.append(time.time() + 1.0)
            return sign(Claim("u1", "final", asked[-1]), keys)

        quick = DeviceSettings(retry=0.02, longest_retry=0.1, timeout=2.0)
        device = Device("u1", "final", token, service.http, service.urls(), quick)
        service.start(device)
        await until(lambda: service.gateways[0].counters["tokens_expired"] >= 2)
        await service.broker.append(EventState("final", 1, "live", 1.0))
        await until(lambda: bool(device.shown))
        assert device.counters["tokens_renewed"] == len(asked) - 1 >= 2
        assert device.counters["prefetch_failures"] == 0
        # Told that its token has expired, it does not try the old one again.
        assert service.gateways[0].counters['refused{status="401"}'] == 0


async def test_a_device_whose_new_token_is_refused_too_ends(serving, keys):
    async with serving() as service:
        count = 0

        def token():
            nonlocal count
            count += 1
            return sign(Claim("u1", "final", count), keys)  # another one, and expired

        for part in ("_stay_fresh", "_stay_connected"):
            device = Device("u1", "final", token, service.http, service.urls())
            device._backoff = lambda failures: 0.0  # type: ignore[method-assign]
            with pytest.raises(UserError, match=r"refuses user 'u1'"):
                await getattr(device, part)()
        assert count <= 5
