"""The producer: follows the schedule and writes each state once, under a version that only grows.

It keeps nothing on disk. After a restart the broker's newest state says where it was, and a
person's decisions are in the schedule's file.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

from recsys_posttrain.live.broker import Broker, BrokerDown
from recsys_posttrain.live.schedule import ScheduleFile
from recsys_posttrain.live.state import EventState

_log = logging.getLogger(__name__)


class Producer:
    """Writes the states of one event. `clock` gives seconds since 1970."""

    def __init__(
        self, schedule: ScheduleFile, broker: Broker, clock: Callable[[], float] = time.time
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._schedule = schedule
        self._broker = broker
        self._clock = clock
        self._written: EventState | None = None
        self._refused = 0

    async def step(self) -> EventState | None:
        """Writes the state that the schedule asks for now; None where the newest is that already.

        Errors: BrokerDown; the next step then finds out whether the state was written.
        """
        schedule, now = self._schedule.current(), self._clock()
        newest = await self._broker.newest(schedule.event)
        if self._written is not None and self._written.is_newer(newest):
            # The broker lost its data. Devices have this version, so it is the one to go on from.
            self.counters["states_restored"] += await self._broker.append(self._written)
            newest = self._written
        stage = schedule.stage_at(now)
        if newest is not None and newest.stage == stage:
            self._written = newest
            return None
        # From the clock where nothing is known, so that a broker and a producer that both start
        # from nothing during an event still go on above what devices have.
        version = newest.version + 1 if newest else max(1, int(now))
        if self._refused >= version:
            version = self._refused + 1  # the number has something in it that is no state
        state = EventState(schedule.event, version, stage, now)
        if not await self._broker.append(state):
            self.counters["states_refused"] += 1
            self._refused = version
            _log.warning("version %d was refused: another writer has used it", version)
            return None
        self.counters["states_written"] += 1
        _log.info("version %d: %s", version, stage)
        self._written = state
        return state

    async def run(self, interval: float = 0.1) -> None:
        """Steps for ever, every `interval` seconds; a broker that is down is asked again."""
        is_down = False
        while True:
            try:
                await self.step()
                is_down = False
            except BrokerDown as error:
                self.counters["broker_errors"] += 1
                if not is_down:  # once, not at every attempt
                    _log.warning("%s; trying again", error)
                is_down = True
            await asyncio.sleep(interval)
