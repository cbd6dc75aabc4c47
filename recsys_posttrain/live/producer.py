"""The producer: follows the schedule and writes each state once, under a version that only grows.

After a restart it goes on above the largest version that it can learn of: the broker's newest, the
one in its own small file, what gateways and prefetch servers have seen, and the clock. A person's
decisions are in the schedule's file.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import write_text
from recsys_posttrain.live.broker import Broker, repeat
from recsys_posttrain.live.schedule import ScheduleFile
from recsys_posttrain.live.state import AHEAD_SECONDS, MESSAGE_BYTES, EventState, json_object

_ASK_SECONDS = 2.0
_DIRECT = build_opener(ProxyHandler({}))
_log = logging.getLogger(__name__)


def memory_beside(schedule: Path, event: str) -> Path:
    """Where the producer of a schedule keeps its newest state, to outlive it and its broker."""
    return schedule.with_name(f"{schedule.stem}.{event}.newest.json")


def _remembered(memory: Path) -> EventState | None:
    """The newest state; None before the first. Errors: UserError for a damaged file."""
    try:
        return EventState.from_json(memory.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{memory} cannot be read ({error.strerror})") from None
    except UserError as error:
        raise UserError(
            f"{memory}, where the producer keeps its newest state, is damaged ({error}): delete it"
        ) from None


class Producer:
    """Writes the states of one event. `clock` gives seconds since 1970.

    memory: the file that keeps the newest state over restarts.
    seen: a version that readers have already; the next state is above it.
    """

    def __init__(
        self,
        schedule: ScheduleFile,
        broker: Broker,
        clock: Callable[[], float] = time.time,
        memory: Path | None = None,
        seen: int = 0,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._schedule = schedule
        self._broker = broker
        self._clock = clock
        self._memory = memory
        self._seen = seen
        self._written = _remembered(memory) if memory else None

    async def step(self) -> EventState | None:
        """Writes the state that the schedule asks for now; None where the newest is that already.

        Errors: BrokerDown; the next step then finds out whether the state was written.
        """
        schedule, now, written = self._schedule.current(), self._clock(), self._written
        newest = await self._broker.repaired(schedule.event)
        if written and written.event == schedule.event and written.is_newer(newest):
            # The broker lost its data. Devices have this version, so it is the one to go on from.
            if await self._broker.append(written):
                self.counters["states_restored"] += 1
                newest = written
            else:
                _log.warning("version %d cannot be written again", written.version)
                self._written = None
        stage = schedule.stage_at(now)
        if newest is not None and newest.stage == stage and newest.version >= self._seen:
            self._remember(newest)
            return None
        # From the clock where nothing is known, so that a broker and a producer that both start
        # from nothing during an event still go on above what devices have.
        version = max(newest.version + 1 if newest else max(1, int(now)), self._seen + 1)
        state = EventState(schedule.event, version, stage, now)
        if not await self._broker.append(state):
            self.counters["states_refused"] += 1
            why = "another writer was quicker, or a clock is wrong"
            _log.warning("version %d was refused: %s", version, why)
            return None
        self.counters["states_written"] += 1
        _log.info("version %d: %s", version, stage)
        self._remember(state)
        return state

    async def run(self, interval: float = 0.1) -> None:
        """Steps for ever, every `interval` seconds; a broker that is down is asked again."""
        await repeat(self.step, self.counters, lambda _: interval)

    def _remember(self, state: EventState) -> None:
        if state == self._written:
            return
        self._written = state
        if self._memory is not None:
            try:
                write_text(self._memory, state.to_json() + "\n")
            except (OSError, UserError) as error:
                self.counters["memory_errors"] += 1
                _log.error("%s cannot be written (%s)", self._memory, error)


async def seen_by(readers: Sequence[str], event: str, now: float) -> int:
    """The largest version that any of these gateways and prefetch servers has; 0 if none answers.

    Errors: UserError for one that is far ahead of the clock.
    """
    seen = 0
    for url in readers:
        try:
            answer = await asyncio.wait_for(asyncio.to_thread(_health, url), _ASK_SECONDS)
            value = json_object(answer, MESSAGE_BYTES, f"{url}/health")
            require(value.get("event") == event, f"{url} serves {value.get('event')!r:.80}")
            version = value.get("state")
            require(type(version) is int, f"{url} says no version")
        except (OSError, HTTPException, UserError) as error:
            _log.warning("%s does not say which version it has (%s)", url, error)
            continue
        require(
            int(version or 0) <= now + AHEAD_SECONDS,
            f"{url} has version {version}, an hour or more ahead of this machine's clock: set it",
        )
        seen = max(seen, int(version or 0))
    return seen


def _health(url: str) -> bytes:
    with _DIRECT.open(f"{url.rstrip('/')}/health", timeout=_ASK_SECONDS) as answer:
        return bytes(answer.read(MESSAGE_BYTES + 1))
