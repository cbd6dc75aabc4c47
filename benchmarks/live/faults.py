"""The faults, each what is done to the service and what is published meanwhile.

A fault returns what is to be said of it beside its row, and leaves the service whole.
"""

import asyncio
import time
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from live.attack_faults import ATTACKS, Fault
from live.overload import overload
from live.random_lists import EVENT
from live.service import Service

_CALM_UPDATES = 5


async def no_fault(service: Service) -> str:
    """Five updates, to compare with."""
    service.hit()
    for _ in range(_CALM_UPDATES):
        await service.publish()
        await service.until(service.is_right)
        await asyncio.sleep(service.bench.pause / 3)
    return ""


async def gateway_killed(service: Service) -> str:
    """One of two gateways is killed just before an update, and starts again later."""
    service.kill_gateways(0)
    service.hit()
    await service.publish()
    await asyncio.sleep(service.bench.pause)
    service.start_gateways(0)
    return ""


async def all_connections_cut(service: Service) -> str:
    """Both gateways are killed and start again at once: a flash crowd of reconnects."""
    service.kill_gateways()
    service.hit()
    stage = service.change()
    service.start_gateways()
    await service.published(stage)
    return ""


async def redis_killed(service: Service) -> str:
    """Redis is killed, the schedule changes, Redis starts with its data (appendfsync always)."""
    before = service.states[-1].version
    service.redis.kill()
    service.hit()
    stage = service.change()
    await asyncio.sleep(service.bench.pause)
    service.redis.start()
    after = await service.published(stage)
    return f"versions {before} to {after.version}"


async def redis_emptied(service: Service) -> str:
    """Redis is killed and starts without its data; the producer still knows the newest version."""
    before = service.states[-1].version
    service.redis.kill()
    service.hit()
    service.redis.forget()
    await asyncio.sleep(service.bench.pause)
    service.redis.start()
    after = await service.publish()
    return f"versions {before} to {after.version}"


async def producer_killed(service: Service) -> str:
    """The producer is killed, the schedule changes, a new one starts."""
    service.processes["producer"].kill()
    service.hit()
    stage = service.change()
    await asyncio.sleep(service.bench.pause)
    service.start_producer()
    await service.published(stage)
    return ""


async def devices_asleep(service: Service) -> str:
    """Half of the devices are stopped (SIGSTOP) while three updates are published, then go on."""
    fleet, seconds = service.processes["fleet-0"], service.bench.seconds
    fleet.stop()
    for _ in range(3):
        await asyncio.sleep(seconds / 4)
        await service.publish()
    await asyncio.sleep(seconds / 4)
    service.hit()
    fleet.go_on()
    return f"asleep for {seconds:g} s"


async def hostile_messages(service: Service) -> str:
    """Stale, repeated and false entries are put into the stream; in a gateway's place one repeats,
    reorders and garbles every state."""
    service.kill_gateways(0)
    service.start_hostile(0)
    before = {name: service.count(name) for name in ("messages_ignored", "bad_messages")}
    service.hit()
    await asyncio.sleep(service.bench.pause)
    refused = await _inject(service)
    for _ in range(3):
        await service.publish()
        await asyncio.sleep(service.bench.pause / 3)
    await service.until(service.is_right)
    service.processes.pop("hostile").kill()
    service.start_gateways(0)
    old, broken = (service.count(name) - count for name, count in before.items())
    return (
        f"Redis refused {refused} of 2 stale entries; devices ignored {old:,} old or foreign "
        f"messages and {broken:,} that are no state"
    )


async def _inject(service: Service) -> int:
    """Writes to the stream past the producer; how many of two stale entries were refused."""
    newest, oldest, refused = service.states[-1], service.states[0], 0
    async with Redis.from_url(service.redis.url) as redis:
        for state, number in ((newest, newest.version), (oldest, oldest.version)):
            try:
                await redis.xadd(f"live:{EVENT}", {"state": state.to_json()}, id=f"{number}-0")
            except ResponseError:
                refused += 1
        # A signed state under a number that is not its own, one without a signature, and nonsense:
        # readers must not take them.
        kept: Any = await redis.xrange(f"live:{EVENT}", count=1)
        signed = kept[0][1]
        entries: list[Any] = [signed, {"state": oldest.to_json()}, {"state": "{"}]
        for number, entry in enumerate(entries, newest.version + 1):
            await redis.xadd(f"live:{EVENT}", entry, id=f"{number}-0")
    return refused


async def schedule_moved(service: Service) -> str:
    """A start is moved later, comes, is taken back, and is moved to now."""
    if service.states[-1].stage != "live":
        await service.publish()
        await service.until(service.is_right)
    pause = max(0.5, service.bench.pause)
    service.hit()
    planned = time.time() + pause
    service.plan(break_in=pause)
    await asyncio.sleep(pause / 2)
    service.plan(break_in=1.5 * pause)
    moved = await service.published("break")
    service.plan(break_in=86_400)
    await service.published("live")
    await asyncio.sleep(pause / 2)
    service.plan(break_in=0)
    await service.published("break")
    return f"moved by {pause:g} s, it came {moved.published - planned:.2f} s after its first time"


async def clocks_off(service: Service) -> str:
    """The producer is a minute ahead, a gateway and half of the devices are a minute behind."""
    service.kill_gateways()
    service.processes["producer"].kill()
    service.hit()
    service.start_gateways(0, clock=-60.0)
    service.start_gateways(1)
    service.start_producer(clock=60.0)
    await service.until(service.is_connected)
    for _ in range(2):
        await service.publish()
        await service.until(service.is_right)
    service.processes["producer"].kill()
    service.start_producer()
    await service.publish()
    return "each time here is corrected by the offset of the clock that it was read from"


async def prefetch_killed(service: Service) -> str:
    """The prefetch server is killed just before an update, and starts again later."""
    service.processes["prefetch"].kill()
    service.hit()
    await service.publish()
    await service.until(service.is_right)
    await asyncio.sleep(service.bench.pause)
    service.start_prefetch()
    return ""


async def overloaded(service: Service) -> str:
    """An update while the prefetch server is asked, without a pause, for what can wait."""
    service.hit()
    asking = asyncio.create_task(overload(service))
    await asyncio.sleep(service.bench.pause / 2)
    await service.publish()
    return await asking


FAULTS: tuple[Fault, ...] = (
    no_fault,
    gateway_killed,
    all_connections_cut,
    redis_killed,
    redis_emptied,
    producer_killed,
    devices_asleep,
    hostile_messages,
    schedule_moved,
    clocks_off,
    prefetch_killed,
    overloaded,
    *ATTACKS,
)
