"""Where the producer writes states and gateways read them: the interface and the embedded broker.

Every reader keeps its own cursor, the newest version that it has seen. So a broker keeps nothing
about its readers, and a reader that returns misses nothing that still matters.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import numpy as np

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.state import EventState

STATES_KEPT = 1000
_WAIT_SECONDS = 5.0
_RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)


class BrokerDown(UserError):
    """The broker cannot be reached; the same call may succeed later."""


class Broker(Protocol):
    """A log of states per event, each newer than the one before. Every method may BrokerDown."""

    counters: Counter[str]

    async def append(self, state: EventState) -> bool:
        """Adds a state; False, and nothing added, where its version is not the newest, or is so far
        ahead of the clock that readers refuse it."""

    async def newest(self, event: str) -> EventState | None:
        """The newest state; None where there is none."""

    async def repaired(self, event: str) -> EventState | None:
        """Removes what is not a state and returns the newest; for the producer, who may write."""

    async def after(self, event: str, version: int, wait: float) -> list[EventState]:
        """States newer than `version`, oldest first; where none is, waits up to `wait` seconds."""


class EmbeddedBroker:
    """A broker inside this process, for one event loop; it needs no server and keeps no file."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._states: dict[str, deque[EventState]] = {}
        self._appended = asyncio.Event()

    async def append(self, state: EventState) -> bool:
        kept = self._states.setdefault(state.event, deque(maxlen=STATES_KEPT))
        if state.is_ahead(time.time()) or (kept and not state.is_newer(kept[-1])):
            return False
        kept.append(state)
        self._appended.set()
        self._appended = asyncio.Event()
        return True

    async def newest(self, event: str) -> EventState | None:
        kept = self._states.get(event)
        return kept[-1] if kept else None

    async def repaired(self, event: str) -> EventState | None:
        return await self.newest(event)

    async def after(self, event: str, version: int, wait: float) -> list[EventState]:
        appended = self._appended
        if newer := self._newer(event, version):
            return newer
        try:
            async with asyncio.timeout(wait):
                await appended.wait()
        except TimeoutError:
            return []
        return self._newer(event, version)

    def _newer(self, event: str, version: int) -> list[EventState]:
        return [state for state in self._states.get(event, ()) if state.version > version]


async def repeat(
    step: Callable[[], Awaitable[object]], counters: Counter[str], pause: Callable[[bool], float]
) -> None:
    """Repeats a step for ever; `counters` show where the broker was down.

    pause: the seconds until the next step, given whether the broker is down.
    """
    is_down = False
    while True:
        try:
            await step()
            is_down = False
        except BrokerDown as error:
            counters["broker_errors"] += 1
            if not is_down:  # once, not at every attempt
                _log.warning("%s; trying again", error)
            is_down = True
        await asyncio.sleep(pause(is_down))


async def follow(
    broker: Broker,
    event: str,
    receive: Callable[[EventState], None],
    counters: Counter[str],
    random: np.random.Generator,
) -> None:
    """Hands each newer state to `receive`, for ever; of several at once the last, which is enough.

    While the broker is down it is asked again after a random time.
    """
    cursor = 0
    broker.counters = counters  # so that a reader's metrics show what its broker refuses

    async def step() -> None:
        nonlocal cursor
        states = await broker.after(event, cursor, _WAIT_SECONDS)
        if states and states[-1].version > cursor:
            cursor = states[-1].version
            receive(states[-1])

    await repeat(step, counters, lambda is_down: is_down * random.uniform(0, _RETRY_SECONDS))
