"""Whoever can write to Redis, and has no key, neither says a state nor hides one."""

import asyncio
import re
import shlex
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from live.device import Device
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys_posttrain.live.broker import BrokerDown
from recsys_posttrain.live.keys import Keys
from recsys_posttrain.live.producer import Producer, memory_beside
from recsys_posttrain.live.redis_broker import RedisBroker
from recsys_posttrain.live.schedule import Schedule, ScheduleFile
from recsys_posttrain.live.state import EventState

LARGEST = 2**53 - 1
STAGES = ("before", "live", "break", "after")
ROOT = Path(__file__).resolve().parents[2]
Spoil = Callable[[Redis, int], Awaitable[object]]


def _entry(broker, state):
    return broker._entry(state)


def _add(number):
    return lambda redis, newest: redis.xadd("live:final", {"x": "y"}, id=number)


def _ahead(seconds):
    return lambda redis, newest: redis.xadd("live:final", {"x": "y"}, id=f"{newest + seconds}-0")


async def _unsigned(redis, newest):
    for version in (newest + 1, LARGEST):
        state = EventState("final", version, "after", time.time())
        await redis.xadd("live:final", {"state": state.to_json()}, id=f"{version}-0")


async def _replayed(redis, newest):
    """A signed state under other numbers."""
    ((_, signed),) = await redis.xrevrange("live:final", count=1)
    for seconds in (1, 2, 10**6):
        await redis.xadd("live:final", signed, id=f"{newest + seconds}-0")


async def _many(redis, newest):
    async with redis.pipeline() as pipe:
        for number in range(newest + 1, newest + 5000):
            pipe.xadd("live:final", {"x": "y" * 50}, id=f"{number}-0")
        await pipe.execute()


async def _another_type(redis, newest):
    await redis.set("live:final", "x")


SPOILS = {
    "+1": _ahead(1), "+10,000": _ahead(10_000), "+10^6": _ahead(10**6), "XADD *": _add("*"),
    "the largest id": _add("18446744073709551615-18446744073709551615"),
    "XSETID": lambda redis, newest: redis.execute_command("XSETID", "live:final", f"{LARGEST}-0"),
    "states without a signature": _unsigned, "a signed state replayed": _replayed,
    "thousands": _many, "another type": _another_type,
    "removed": lambda redis, newest: redis.delete("live:final"),
}  # fmt: skip


class World:
    """A producer of this moment's clock, and a reader, each with a connection of its own."""

    def __init__(self, url, keys, path):
        self.path, self.url, self.keys = path, url, keys
        self.redis = Redis.from_url(url)
        self.broker, self.reader = RedisBroker(url, keys), RedisBroker(url, keys)
        now = time.time()
        self.plan = Schedule("final", STAGES, {"live": now + 999, "break": now + 9999})
        self.plan.write(path)
        self.producer = self.restarted()

    def restarted(self):
        memory = memory_beside(self.path, "final")
        return Producer(ScheduleFile(self.path), RedisBroker(self.url, self.keys), memory=memory)

    async def newest(self):
        found = await self.broker.newest("final")
        assert found is not None
        return found

    async def advance(self, stage):
        self.plan = self.plan.advanced(stage, time.time())
        self.plan.write(self.path)
        async with asyncio.timeout(5):
            while not await self.producer.step():
                await asyncio.sleep(0.01)


@pytest.fixture
def world(redis_server, keys, tmp_path):
    return World(redis_server.url, keys, tmp_path / "schedule.json")


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("name", SPOILS)
async def test_the_producer_goes_on_at_once_and_readers_go_on_with_it(world, name, is_restarted):
    await world.producer.step()
    first = await world.newest()
    assert abs(first.version - time.time()) < 5
    waiting = asyncio.create_task(world.reader.after("final", first.version, 10.0))
    await asyncio.sleep(0.05)
    await SPOILS[name](world.redis, first.version)
    if is_restarted:
        world.producer = world.restarted()
    await asyncio.sleep(0.3)
    assert not waiting.done()  # what came is no state
    began = time.monotonic()
    await world.advance("live")
    try:
        states = await waiting
    except BrokerDown:  # of another type: `follow` asks again
        states = await world.reader.after("final", first.version, 10.0)
    assert time.monotonic() - began < 5
    live = states[-1]
    assert (live.stage, live.version - first.version <= 5) == ("live", True)
    await world.advance("break")
    (last,) = await world.reader.after("final", live.version, 5.0)
    assert (last.stage, last.version) == ("break", live.version + 1)
    assert await world.newest() == last
    info = await world.redis.xinfo_stream("live:final")
    assert info["last-generated-id"] == f"{last.version}-0".encode()


async def test_what_is_no_state_is_removed_before_the_next_update(world):
    await world.producer.step()
    first = await world.newest()
    await SPOILS["a signed state replayed"](world.redis, first.version)
    assert await world.broker.repaired("final") == first
    entries = await world.redis.xrange("live:final")
    assert [number for number, _ in entries] == [f"{first.version}-0".encode()]
    assert await world.reader.after("final", 0, 0.1) == [first]
    assert await world.producer.step() is None


async def test_a_signed_state_far_ahead_ends_no_producer(world):
    """Of a producer whose clock was years ahead, or of a thief of the key."""
    await world.producer.step()
    first = await world.newest()
    for version in (LARGEST, first.version + 10_000):
        false = replace(first, version=version, stage="after")
        assert not await world.broker.append(false)
        key, entry = "live:final", _entry(world.broker, false)
        await world.redis.xadd(key, entry, id=f"{version}-0")
        assert await world.reader.newest("final") == first
        assert await world.reader.after("final", first.version, 0.1) == []
        world.producer = world.restarted()
        assert await world.producer.step() is None
    await world.advance("live")
    assert (await world.newest()).version == first.version + 1
    # Near the clock it is a state, and the producer goes on above it.
    near = replace(first, version=first.version + 600, stage="break")
    assert await world.broker.append(near)
    await world.producer.step()
    assert (await world.newest()).version == near.version + 1


@pytest.mark.parametrize("seconds", [-86_400.0, 60.0])
async def test_the_clock_of_redis_counts_where_a_readers_own_is_behind(world, seconds):
    await world.producer.step()
    off = RedisBroker(world.url, world.keys, lambda: time.time() + seconds)
    first = await world.newest()
    assert await off.newest("final") == await off.repaired("final") == first
    assert await off.append(replace(first, version=first.version + 1))


def test_a_device_refuses_a_version_days_ahead_of_its_clock():
    now = 1e9
    device = Device("u1", "final", str, "http://x", ("ws://x",), clock=lambda: now)
    for version, is_applied in ((10**9, True), (10**9 + 90_000, False), (LARGEST, False)):
        message = EventState("final", version, "live", now).to_json()
        assert device.receive(message) == is_applied
    assert device.receive(EventState("final", 10**9 + 1, "break", now).to_json())
    assert device.counters["messages_ignored"] == 2


async def test_a_service_with_another_key_is_not_believed(world):
    await world.producer.step()
    first = await world.newest()
    stranger = RedisBroker(world.url, Keys({"tests": b"another key of the tests"}))
    assert await stranger.newest("final") is None
    false = replace(first, version=first.version + 1, stage="after")
    await world.redis.xadd("live:final", _entry(stranger, false), id=f"{false.version}-0")
    assert await world.reader.newest("final") == first
    assert world.reader.counters["bad_entries"] == 1
    for _ in range(5):  # counted once, not at every look
        await world.reader.after("final", first.version, 0.01)
    assert world.reader.counters["bad_entries"] == 1


async def test_the_users_of_redis_in_the_docs_can_do_what_they_need_and_no_more(world):
    text = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
    lines = re.findall(r"^redis-cli (ACL SETUSER .*?)(?: +#.*)?$", text, re.MULTILINE)
    assert len(lines) == 3
    address = world.url.removeprefix("redis://")

    await world.producer.step()
    for line in lines:
        words = shlex.split(line.replace("$producer", "pp").replace("$reader", "rr"))
        await world.redis.execute_command(*words)
    with pytest.raises(RedisError):
        await Redis.from_url(world.url).ping()  # nobody without a password
    url = f"redis://producer:pp@{address}"
    world.url, world.broker = url, RedisBroker(url, world.keys)
    world.producer = world.restarted()
    first = await world.newest()
    await world.advance("live")
    reader = RedisBroker(f"redis://reader:rr@{address}", world.keys)
    assert await reader.newest("none") is None
    (live,) = await reader.after("final", first.version, 1.0)
    assert live.stage == "live"
    with pytest.raises(BrokerDown, match="permission"):
        await reader.append(replace(live, version=live.version + 1))
    # Only keys of live events; no flushing, no scripts, no settings, no other users.
    for user in ("producer:pp", "reader:rr"):
        redis = Redis.from_url(f"redis://{user}@{address}")
        for command in (
            "FLUSHALL", "CONFIG GET *", "EVAL x 0", "ACL LIST", "KEYS *", "SHUTDOWN NOSAVE",
            "XADD other 1-0 x y", "XREVRANGE other + -", "SET live:final x",
            "XSETID live:final 99999999999-0",
        ):  # fmt: skip
            with pytest.raises(RedisError, match="permission"):
                await redis.execute_command(*command.split())
    redis = Redis.from_url(f"redis://reader:rr@{address}")
    for command in ("XADD live:final * x y", "DEL live:final", "XTRIM live:final MAXLEN 0"):
        with pytest.raises(RedisError, match="permission"):
            await redis.execute_command(*command.split())
    # A false number, in spite of it: the producer's own user can repair it.
    await Redis.from_url(url).xadd("live:final", {"x": "y"}, id=f"{LARGEST}-0")
    await world.advance("break")
    assert (await reader.after("final", live.version, 2.0))[-1].stage == "break"
