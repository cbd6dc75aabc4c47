"""The producer against a clock of the test's own: each state once, versions that only grow."""

import asyncio
import logging

import numpy as np
import pytest

from recsys_posttrain.live.broker import BrokerDown, EmbeddedBroker
from recsys_posttrain.live.keys import Keys
from recsys_posttrain.live.producer import Producer
from recsys_posttrain.live.redis_broker import RedisBroker
from recsys_posttrain.live.schedule import Schedule, ScheduleFile

PLAN = Schedule("final", ("before", "live", "break", "after"), {"live": 100.0, "break": 200.0})


class World:
    """A schedule's file, a broker, and a clock that stands still until it is set."""

    def __init__(self, path):
        self.path, self.now, self.broker = path, 10.0, EmbeddedBroker()
        PLAN.write(path)
        self.producer = self.restarted()

    def restarted(self):
        return Producer(ScheduleFile(self.path), self.broker, lambda: self.now)

    async def at(self, now):
        self.now = now
        return await self.producer.step()

    async def written(self):
        states = await self.broker.after("final", 0, 0.0)
        return [(state.version, state.stage) for state in states]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "schedule.json")


async def test_each_stage_is_written_once_at_its_time(world):
    for now in (10, 50, 99, 100, 101, 199, 200, 1e6):
        await world.at(now)
    assert await world.written() == [(10, "before"), (11, "live"), (12, "break")]
    newest = await world.broker.newest("final")
    assert newest.published == 200
    assert world.producer.counters["states_written"] == 3


async def test_a_restart_at_any_moment_repeats_and_loses_nothing(world):
    for now in (10, 99, 100, 150, 200, 250):
        world.producer = world.restarted()
        await world.at(now)
        await world.at(now)
    assert await world.written() == [(10, "before"), (11, "live"), (12, "break")]


async def test_the_schedule_moves_forward_and_back_and_a_person_ends_it(world):
    await world.at(10)
    PLAN.advanced("live", 20).write(world.path)
    await world.at(20)
    PLAN.delayed(50, 20).write(world.path)  # live again only at 150
    await world.at(21)
    await world.at(150)
    world.path.write_text("{")
    await world.at(160)
    PLAN.finished().write(world.path)
    await world.at(161)
    await world.at(1e6)
    stages = [stage for _, stage in await world.written()]
    assert stages == ["before", "live", "before", "live", "after"]
    assert [version for version, _ in await world.written()] == [10, 11, 12, 13, 14]


async def test_a_write_whose_answer_is_lost_is_not_repeated(world):
    append = world.broker.append
    is_lost = True

    async def unsure(state):
        done = await append(state)
        if is_lost:
            raise BrokerDown("no answer")
        return done

    world.broker.append = unsure  # type: ignore[method-assign]

    with pytest.raises(BrokerDown):
        await world.at(10)
    is_lost = False
    assert await world.at(11) is None
    await world.at(100)
    assert await world.written() == [(10, "before"), (11, "live")]


async def test_a_broker_that_lost_its_data_gets_the_state_again(world):
    await world.at(10)
    await world.at(100)
    world.producer._broker = world.broker = EmbeddedBroker()
    assert await world.at(101) is None
    assert await world.written() == [(11, "live")]
    assert world.producer.counters["states_restored"] == 1
    await world.at(200)
    assert await world.written() == [(11, "live"), (12, "break")]
    # Both lose everything: what they go on with is still above what devices have.
    world.broker = EmbeddedBroker()
    world.producer = world.restarted()
    state = await world.at(201)
    assert state.version > 12


async def test_two_producers_and_clocks_that_differ_by_a_minute(world):
    """Both follow one schedule; whatever the order of their steps, each version is written once."""
    random = np.random.default_rng(0)
    now = 0.0
    late = Producer(ScheduleFile(world.path), world.broker, lambda: max(0.0, now - 60))
    right = Producer(ScheduleFile(world.path), world.broker, lambda: now)
    for _ in range(300):
        now += 1.0
        await asyncio.gather(*(each.step() for each in random.permutation([late, right])))
    versions = [version for version, _ in await world.written()]
    assert versions == list(range(1, len(versions) + 1))
    assert (await world.written())[-1][1] == "break"


async def test_run_goes_on_when_the_broker_is_down(world, caplog):
    caplog.set_level(logging.INFO, "recsys_posttrain.live.broker")  # which the bench silences
    newest, calls = world.broker.newest, 0

    async def flaky(event):
        nonlocal calls
        calls += 1
        if calls < 4:
            raise BrokerDown("down")
        return await newest(event)

    world.broker.newest = flaky  # type: ignore[method-assign]

    running = asyncio.create_task(world.producer.run(interval=0.001))
    async with asyncio.timeout(5):
        assert await world.broker.after("final", 0, 5.0)
    running.cancel()
    assert world.producer.counters["broker_errors"] == 3
    levels = [record.levelname for record in caplog.records]
    assert levels.count("WARNING") == 1


async def test_with_redis_over_its_restarts(redis_server, tmp_path):
    """Killed and started with its data, then without it: versions grow and no state is twice."""
    path = tmp_path / "schedule.json"
    PLAN.write(path)

    now = 10.0
    broker = RedisBroker(redis_server.url, Keys({"k": b"a key of the tests"}))
    producer = Producer(ScheduleFile(path), broker, lambda: now)
    await producer.step()
    redis_server.kill()
    now = 100.0
    with pytest.raises(BrokerDown):
        await producer.step()
    redis_server.start()
    await producer.step()
    states = await broker.after("final", 0, 0.01)
    assert [(state.version, state.stage) for state in states] == [(10, "before"), (11, "live")]
    await broker._redis.flushall()
    assert await producer.step() is None
    assert await broker.after("final", 0, 0.01) == states[1:]
    await broker._redis.aclose()
