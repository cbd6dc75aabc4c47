"""The embedded broker and Redis: the same behaviour, from the same tests."""

import asyncio
import time
from collections import Counter

import numpy as np
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.broker import BrokerDown, EmbeddedBroker, follow
from recsys_posttrain.live.keys import Keys
from recsys_posttrain.live.redis_broker import RedisBroker
from recsys_posttrain.live.state import EventState

KEYS = Keys({"k": b"a key of the tests"})


def _state(version, event="final", stage="live"):
    return EventState(event, version, stage, 1.0)


@pytest.fixture(params=["embedded", "redis"])
def broker(request):
    """One of each kind, as every test here is played with both."""
    if request.param == "embedded":
        return EmbeddedBroker()
    return RedisBroker(request.getfixturevalue("redis_server").url, KEYS)


async def test_versions_only_grow(broker):
    assert await broker.newest("final") is None
    assert await broker.append(_state(5))
    for version in (5, 4, 1):
        assert not await broker.append(_state(version, stage="after"))
    assert await broker.newest("final") == _state(5)
    assert await broker.append(_state(9))
    assert await broker.newest("final") == _state(9)
    assert await broker.append(_state(1, event="other"))


async def test_a_version_far_ahead_of_the_clock_is_refused(broker):
    now = int(time.time())
    assert await broker.append(_state(now + 3000))
    for version in (now + 3700, now + 10**6, 2**53 - 1):
        assert not await broker.append(_state(version))
    assert await broker.append(_state(now + 3001))
    assert await broker.newest("final") == _state(now + 3001)


async def test_a_cursor_reads_what_is_after_it(broker):
    for version in (1, 2, 5):
        await broker.append(_state(version))
    assert await broker.after("final", 0, 0.01) == [_state(1), _state(2), _state(5)]
    assert await broker.after("final", 2, 0.01) == [_state(5)]
    assert await broker.after("final", 5, 0.01) == []
    assert await broker.after("none", 0, 0.01) == []
    assert await broker.after("final", 5, 0.0) == []


async def test_a_reader_waits_for_what_comes(broker):
    await broker.append(_state(1))
    waiting = [asyncio.create_task(broker.after("final", 1, 10.0)) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in waiting)
    await broker.append(_state(2))
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == [[_state(2)]] * 3


async def test_of_writers_that_race_one_wins(broker):
    for version in range(1, 20):
        tries = (broker.append(_state(version, stage=f"w{writer}")) for writer in range(5))
        assert sum(await asyncio.gather(*tries)) == 1
    assert [state.version for state in await broker.after("final", 0, 0.01)] == [*range(1, 20)]


async def test_old_states_are_let_go(broker, monkeypatch):
    for module in ("broker", "redis_broker"):
        monkeypatch.setattr(f"recsys_posttrain.live.{module}.STATES_KEPT", 200)
    for version in range(1, 501):
        await broker.append(_state(version))
    kept = await broker.after("final", 0, 0.01)
    assert kept[-1].version == 500
    assert 200 <= len(kept) < 350  # Redis cuts whole blocks of 100


def _following(broker):
    """The task, the versions that were handed on, and the counters."""
    seen, counters = [], Counter()
    receive = lambda state: seen.append(state.version)  # noqa: E731
    following = follow(broker, "final", receive, counters, np.random.default_rng(0))
    return asyncio.create_task(following), seen, counters


async def test_follow_hands_on_each_newer_state_once(broker):
    await broker.append(_state(1))
    await broker.append(_state(2))
    following, seen, _ = _following(broker)
    for version in (2, 3, 3, 4, 7):
        await asyncio.sleep(0.03)
        await broker.append(_state(version))
    await asyncio.sleep(0.1)
    following.cancel()
    assert seen == [2, 3, 4, 7]


async def test_no_redis_is_one_sentence_that_names_the_way_out(redis_server):
    redis_server.kill()
    broker = RedisBroker(f"redis://:password@127.0.0.1:{redis_server.port}", KEYS)
    for call in (broker.append(_state(1)), broker.newest("final"), broker.after("final", 0, 0.01)):
        with pytest.raises(BrokerDown) as down:
            await call
        sentence = str(down.value)
        assert f"Redis at 127.0.0.1:{redis_server.port}" in sentence
        assert "embedded" in sentence
        assert "password" not in sentence
    await broker._redis.aclose()
    with pytest.raises(UserError, match=r"redis://127\.0\.0\.1:6379"):
        RedisBroker("http://127.0.0.1", KEYS)


async def test_follow_survives_a_broker_that_is_down(monkeypatch):
    monkeypatch.setattr("recsys_posttrain.live.broker._RETRY_SECONDS", 0.01)

    class Flaky(EmbeddedBroker):
        calls = 0

        async def after(self, event, version, wait):
            self.calls += 1
            if self.calls % 2:
                raise BrokerDown("down")
            return await super().after(event, version, 0.01)

    broker = Flaky()
    await broker.append(_state(3))
    following, seen, counters = _following(broker)
    await asyncio.sleep(0.1)
    await broker.append(_state(4))
    await asyncio.sleep(0.1)
    following.cancel()
    assert seen == [3, 4]
    assert counters["broker_errors"] >= 2
