"""A broker of several processes: one Redis stream per event, whose entry ids are the versions.

Redis refuses an id that is not above the stream's newest, so no writer can repeat a version or go
back, however many there are. Run Redis with `appendonly yes`; where it loses its data all the same,
the producer writes its newest state again.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.broker import STATES_KEPT, BrokerDown
from recsys_posttrain.live.state import EventState

_ANSWER_SECONDS = 30.0  # above every wait for news
_CONNECT_SECONDS = 3.0
_log = logging.getLogger(__name__)


class RedisBroker:
    """States in the stream `live:<event>`. Errors: UserError for a URL that Redis does not know."""

    def __init__(self, url: str) -> None:
        self.counters: Counter[str] = Counter()
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
        number = f"{state.version}-0"
        with self._explained():
            try:
                await self._redis.xadd(
                    _key(state.event), {"state": state.to_json()}, id=number, maxlen=STATES_KEPT
                )
            except ResponseError as error:
                if "equal or smaller" not in str(error):
                    raise
                return False
        return True

    async def newest(self, event: str) -> EventState | None:
        with self._explained():
            # More than one, because another writer may have put something unreadable on top.
            entries = await self._redis.xrevrange(_key(event), count=10)
        states = self._states(event, entries)
        return states[0] if states else None

    async def after(self, event: str, version: int, wait: float) -> list[EventState]:
        cursor: Any = f"{version}-0"
        milliseconds = max(1, round(wait * 1000))  # 0 would wait for ever
        while True:
            with self._explained():
                streams: Any = await self._redis.xread({_key(event): cursor}, block=milliseconds)
            if not streams:
                return []
            ((_, entries),) = streams
            if states := self._states(event, entries):
                return states
            cursor = entries[-1][0]

    async def close(self) -> None:
        """Gives the connections back."""
        await self._redis.aclose()

    def _states(self, event: str, entries: Any) -> list[EventState]:
        """The entries that are states under the id they should have; others are counted."""
        states = []
        for number, values in entries:
            try:
                state = EventState.from_json(values.get(b"state", b""))
                if (state.event, f"{state.version}-0".encode()) != (event, number):
                    raise UserError(f"it says {state.event} {state.version}")
            except UserError as error:
                self.counters["bad_entries"] += 1
                _log.error("entry %s of %s is not a state: %s", number, _key(event), error)
            else:
                states.append(state)
        return states

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
