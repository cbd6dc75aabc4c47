"""A broker of several processes: one Redis stream per event, whose entry ids are the versions.

Redis refuses an id that is not above the stream's newest, so no producer can repeat a version or go
back, however many there are. An entry is a state only with a signature of the servers' key and a
version near the clock. Others, which need no more than a connection to Redis, are ignored by
readers, and the producer replaces a stream that has them on top. Run Redis with `appendonly yes`;
where it loses its data all the same, the producer writes its newest state again.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError, WatchError

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.live.broker import STATES_KEPT, BrokerDown
from recsys_posttrain.live.keys import Keys
from recsys_posttrain.live.state import EventState

_ANSWER_SECONDS = 30.0  # above every wait for news
_CONNECT_SECONDS = 3.0
_FOREIGN_SECONDS = 0.2  # within which the producer may remove entries that are not states
_TRIES = 10
_MOST_ENTRIES = 2 * STATES_KEPT  # that are read at once
_PURPOSE = "state"
_log = logging.getLogger(__name__)


class RedisBroker:
    """States in the stream `live:<event>`. Errors: UserError for a URL that Redis does not know."""

    def __init__(self, url: str, keys: Keys, clock: Callable[[], float] = time.time) -> None:
        self.counters: Counter[str] = Counter()
        self._keys = keys
        self._clock = clock
        self._complained: set[bytes] = set()
        try:
            self._redis = Redis.from_url(
                url,
                socket_timeout=_ANSWER_SECONDS,
                socket_connect_timeout=_CONNECT_SECONDS,
                retry=Retry(NoBackoff(), 1),  # a pooled connection may be of a Redis that is gone
            )
        except ValueError as error:
            raise UserError(
                f"--redis takes a URL such as redis://127.0.0.1:6379 ({error})"
            ) from None
        place = self._redis.connection_pool.connection_kwargs  # without the password
        self._address = f"{place.get('host', 'localhost')}:{place.get('port', 6379)}"

    async def append(self, state: EventState) -> bool:
        """Also False for a version that readers would refuse."""
        with self._explained():
            if state.is_ahead(self._clock()) and state.is_ahead((await self._redis.time())[0]):
                return False
        return await self._change(state.event, state) == state

    async def newest(self, event: str) -> EventState | None:
        with self._explained():
            return await self._newest(self._redis, event)

    async def repaired(self, event: str) -> EventState | None:
        return await self._change(event, None)

    async def after(self, event: str, version: int, wait: float) -> list[EventState]:
        # The cursor stays at a state: beyond a false number, no true one would be seen.
        cursor: Any = f"{version}-0"
        until = time.monotonic() + wait
        while True:
            left = max(0.001, until - time.monotonic())  # 0 would wait for ever
            with self._explained():
                streams: Any = await self._redis.xread(
                    {_key(event): cursor}, block=max(1, round(left * 1000)), count=_MOST_ENTRIES
                )
                if not streams:
                    return []
                ((_, entries),) = streams
                if states := await self._states(event, entries):
                    return states
            if time.monotonic() >= until:
                return []
            await asyncio.sleep(min(_FOREIGN_SECONDS, left))

    async def _change(self, event: str, state: EventState | None) -> EventState | None:
        """Adds `state` if it is newer and removes other entries, in one step; returns the newest.

        Numbers that the stream gave to other things cannot be used again, nor can lower ones: the
        stream is replaced by one with the newest state alone, which is all that readers need.
        """
        key = _key(event)
        with self._explained():
            async with self._redis.pipeline(transaction=True) as pipe:
                for _ in range(_TRIES):
                    await pipe.watch(key)
                    newest, is_foreign = await self._top(pipe, event)
                    is_new = state is not None and state.is_newer(newest)
                    if not (is_new or is_foreign):
                        await pipe.unwatch()  # type: ignore[no-untyped-call]
                        return newest
                    newest = state if is_new else newest
                    pipe.multi()  # type: ignore[no-untyped-call]
                    if is_foreign:
                        pipe.delete(key)
                    if newest is not None:
                        entry: Any = self._entry(newest)
                        pipe.xadd(key, entry, id=f"{newest.version}-0", maxlen=STATES_KEPT)
                    try:
                        await pipe.execute()
                    except WatchError:
                        continue  # another writer was between
                    except ResponseError as error:
                        if "equal or smaller" not in str(error):
                            raise
                        continue  # XSETID was, which no watch sees
                    if is_foreign:
                        self.counters["streams_replaced"] += 1
                        _log.warning("%s had entries that are no states: replaced", key)
                    return newest
        return None

    async def _top(self, pipe: Pipeline, event: str) -> tuple[EventState | None, bool]:
        """The newest state, and whether the stream has had an id above it, or is no stream."""
        try:
            info = await pipe.xinfo_stream(_key(event))
            newest = await self._newest(pipe, event)
        except ResponseError as error:
            if "no such key" not in str(error) and "WRONGTYPE" not in str(error):
                raise
            return None, "WRONGTYPE" in str(error)
        number, _, place = info["last-generated-id"].decode().partition("-")
        return newest, (int(number), int(place)) > (newest.version if newest else 0, 0)

    async def _newest(self, redis: "Redis", event: str) -> EventState | None:
        for count in (1, _MOST_ENTRIES):  # the second where the first is no state
            entries = await redis.xrevrange(_key(event), count=count)
            if states := await self._states(event, entries):
                return states[0]
        return None

    async def _states(self, event: str, entries: Any) -> list[EventState]:
        """The entries that are states under the id they should have; others are counted."""
        states, now, is_asked = [], self._clock(), False
        for number, values in entries:
            try:
                state = self._state(event, number, values)
                if state.is_ahead(now) and not is_asked:  # our own clock may be the one that is off
                    now, is_asked = max(now, (await self._redis.time())[0]), True
                require(not state.is_ahead(now), "its version is far ahead of the clock")
                states.append(state)
            except UserError as why:
                if number not in self._complained:
                    self._complained.add(number)
                    self.counters["bad_entries"] += 1
                    _log.error("entry %r of %s is not a state: %s", number, _key(event), why)
        if len(self._complained) > STATES_KEPT:
            self._complained.clear()
        return states

    def _entry(self, state: EventState) -> dict[str, str]:
        text = state.to_json()
        name, signature = self._keys.sign(_PURPOSE, text.encode())
        return {"state": text, "key": name, "signature": signature}

    def _state(self, event: str, number: bytes, values: dict[bytes, bytes]) -> EventState:
        """The state in an entry. Errors: UserError that says why it holds none."""
        text = values.get(b"state", b"")
        name, signature = (
            values.get(field, b"").decode(errors="replace") for field in (b"key", b"signature")
        )
        is_ours = self._keys.has_signed(_PURPOSE, text, name, signature)
        require(is_ours, "it has no signature of this service")
        state = EventState.from_json(text)
        is_here = (state.event, f"{state.version}-0".encode()) == (event, number)
        require(is_here, f"it says {state.event} {state.version}")
        return state

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            raise BrokerDown(
                f"Redis at {self._address} does not serve ({error!s:.120}): start redis-server, or "
                "leave out --redis of live serve, whose broker is then embedded"
            ) from error


def _key(event: str) -> str:
    return f"live:{event}"
