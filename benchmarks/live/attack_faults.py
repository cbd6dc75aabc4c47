"""Attacks as faults: what somebody without a token, with one, or with a way to Redis can do."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis

from live import attacks
from live.http_get import get
from live.processes import memory_bytes
from live.random_lists import EVENT
from live.service import Service, gateway
from recsys_posttrain.live.state import EventState

Fault = Callable[[Service], Awaitable[str]]
_MOST_SILENT = 10_000
_SOCKETS = 100
_FAR = (10_000, 1_000_000)
_LARGEST = 2**53 - 1


async def silent_crowds(service: Service) -> str:
    """Another address opens twice as many connections as there are devices, at the prefetch server
    and at both gateways, and says nothing or the start of a request, while an update is published
    and devices ask for their lists. Fewer where this machine allows no more open files."""
    service.hit()
    count = min(_MOST_SILENT, 2 * service.bench.devices + 2 * _SOCKETS, attacks.free_files() // 2)
    start, gateways = b"GET /v1/events/", service.ports
    async with (
        attacks.crowd(service.http_port, count) as silent,
        attacks.crowd(gateways[0], count // 2, start),
        attacks.crowd(gateways[1], count // 2, start),
    ):
        await service.publish()
        answers = [await _prefetched(service, str(user)) for user in range(20)]
        await service.until(service.is_right)
        held = sum(map(attacks.is_open, silent))
    good = sum(200 <= status < 400 for status, _ in answers)
    return (
        f"of {count:,} at the prefetch server {held:,} were held; {good} of {len(answers)} devices "
        f"had their lists, the last within {max(seconds for _, seconds in answers):.2f} s"
    )


async def _prefetched(service: Service, user: str) -> tuple[int, float]:
    """(status, seconds); a device is urgent near an event."""
    headers = {"Authorization": f"Bearer {service.token_of(user)}", "Priority": "u=0"}
    began = time.monotonic()
    answer = await get(f"{service.http}/v1/events/{EVENT}/prefetch", headers, 30)
    return answer.status, time.monotonic() - began


async def floods_with_one_token(service: Service) -> str:
    """With the token of one device: a flood of pings whose answers are not read, and a hundred
    connections, while an update is published."""
    service.hit()
    # The gateways know this user, who is no device: a device's own connection is not in question.
    request = attacks.handshake(EVENT, service.token_of("flood"))
    process = service.processes[gateway(0)]
    before = memory_bytes(process.pid)
    flooding = asyncio.create_task(
        attacks.ping_flood(service.ports[0], request, max(1.0, service.bench.pause))
    )
    opened = [await attacks.status(service.ports[1], request) for _ in range(_SOCKETS)]
    await service.publish()
    sent = await flooding
    grown = memory_bytes(process.pid) - before
    for _, connection in opened:
        connection.close()
    accepted = sum(status == 101 for status, _ in opened)
    return (
        f"{accepted} of {_SOCKETS} connections were accepted; the flood ended after "
        f"{sent / 2**20:.1f} MiB, the gateway grew by {max(0, grown) / 2**20:.1f} MiB"
    )


async def false_numbers(service: Service) -> str:
    """Somebody who can write to Redis gives the stream numbers far ahead, by entries, by XADD *, by
    XSETID and by a state without a signature, each before an update; the producer starts again."""
    service.hit()
    waits = []
    async with Redis.from_url(service.redis.url) as redis:
        for place in range(len(_spoiling(0))):
            command: Any = _spoiling(service.states[-1].version)[place]
            await redis.execute_command(*command)  # type: ignore[no-untyped-call]
            began = time.monotonic()
            await service.publish()
            waits.append(time.monotonic() - began)
            await service.until(service.is_right)
        service.processes["producer"].kill()
        await redis.xadd(f"live:{EVENT}", {"x": "y"}, id=f"{_LARGEST}-0")
        service.start_producer()
        await service.publish()
    return f"{len(waits)} updates, the slowest in the stream after {max(waits):.2f} s"


def _spoiling(newest: int) -> list[tuple[str, ...]]:
    """What each gives to the stream, as commands of Redis."""
    key, false = f"live:{EVENT}", EventState(EVENT, _LARGEST, "after", time.time()).to_json()
    return [
        *(("XADD", key, f"{newest + seconds}-0", "x", "y") for seconds in _FAR),
        ("XADD", key, "*", "x", "y"),
        ("XSETID", key, f"{_LARGEST}-0"),
        ("XADD", key, f"{_LARGEST}-0", "state", false),
    ]


async def all_forgotten(service: Service) -> str:
    """Redis is emptied, the producer loses its own file, and a new one starts on a clock that is
    an hour behind; it asks prefetch server and gateways what they have seen."""
    if service.states[-1].stage == "live":  # which alone has started by that clock
        await service.publish()
        await service.until(service.is_right)
    before = service.states[-1].version
    service.processes["producer"].kill()
    service.redis.kill()
    service.hit()
    service.redis.forget()
    service.forget_producer()
    service.redis.start()
    stage = service.change()
    service.start_producer(clock=-3500.0)
    after = await service.published(stage)
    await service.until(service.is_right)
    service.processes["producer"].kill()
    service.start_producer()
    await service.publish()
    return f"versions {before} to {after.version}"


ATTACKS: tuple[Fault, ...] = (
    silent_crowds,
    floods_with_one_token,
    false_numbers,
    all_forgotten,
)
