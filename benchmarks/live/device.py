"""A device: holds its recommendations before the event and shows them, without a call, when told.

Everything that it does on its own it does at a random time, so that a million of them do not do it
together: refreshing its cache, and connecting again (full jitter: uniform from 0 to a bound that
doubles).
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from live.http_get import Answer, BadAnswer, get
from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.live.state import MESSAGE_BYTES, TOKEN_EXPIRED, EventState, json_object
from recsys_posttrain.seeding import derived_seed

_BODY_BYTES = 2**20
_LIFETIME_SECONDS = 3600.0  # where the server does not say
_LONGEST_WAIT = 86_400.0
_AHEAD_SECONDS = 86_400.0  # a device's clock is worse than a server's
_MANY = 30  # failures after which a wait's bound is the longest
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeviceSettings:
    """Times in seconds."""

    spread: float = 0.0  # the first prefetch comes at a random time within it
    jitter: float = 0.3  # a cached answer is used for 1 - jitter to 1 of the server's max-age
    retry: float = 1.0  # the first bound of a wait after a failure
    longest_retry: float = 60.0
    timeout: float = 10.0
    ping: float = 20.0  # a gateway that does not answer one for as long again is left
    log_entries: int = 1000


@dataclass(frozen=True)
class Shown:
    """What was on the screen, and since when, by this device's clock."""

    at: float
    version: int
    stage: str
    items: tuple[str, ...]


class Device:
    """One user's device. `prefetch_url` and `gateways` are such as http://host:1 and ws://host:2.

    token: gives a token, and a new one where the last has expired.
    hear: is told of everything that the device shows.
    """

    def __init__(
        self,
        user: str,
        event: str,
        token: Callable[[], str],
        prefetch_url: str,
        gateways: tuple[str, ...],
        settings: DeviceSettings = DeviceSettings(),
        clock: Callable[[], float] = time.time,
        seed: int = 0,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.shown: deque[Shown] = deque(maxlen=settings.log_entries)
        self.hear: Callable[[Shown], None] = lambda _shown: None
        self.state: EventState | None = None
        self.stages: Mapping[str, tuple[str, ...]] = {}
        self._user = user
        self._event = event
        self._token = token
        self._is_token_proven = True  # not: a new one that no server has accepted yet
        self._authorization = {"Authorization": f"Bearer {token()}"}
        self._base = f"{prefetch_url}/v1/events/{event}"
        self._gateways = gateways
        self._settings = settings
        self._clock = clock
        self._random = np.random.default_rng(derived_seed(seed, "device", user, event))
        self._etag = ""
        self._is_wanted = asyncio.Event()  # a state came before there was anything to show

    async def run(self) -> None:
        """Stays ready and connected, for ever. Errors: UserError where the token is refused."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._stay_fresh())
                tasks.create_task(self._stay_connected())
        except* UserError as group:
            raise group.exceptions[0] from None

    def receive(self, message: str | bytes) -> bool:
        """Applies a message if it has a newer state of this event, and shows it; else counts it."""
        try:
            state = EventState.from_json(message)
        except UserError:
            self.counters["bad_messages"] += 1
            return False
        is_ahead = state.is_ahead(self._clock(), _AHEAD_SECONDS)
        if state.event != self._event or is_ahead or not state.is_newer(self.state):
            self.counters["messages_ignored"] += 1
            return False
        self.state = state
        self.counters["states_applied"] += 1
        self._show()
        if not self.stages:
            self._is_wanted.set()
        return True

    async def prefetch(self) -> float:
        """Fetches the recommendations, or learns that they still hold; seconds until the next time.

        Errors: OSError where there is no usable answer; UserError where asking again cannot help.
        """
        headers = {
            "Accept-Encoding": "gzip",
            "Priority": "u=6" if self.stages else "u=1" if self.state else "u=3",
            **({"If-None-Match": self._etag} if self._etag else {}),
        }
        answer = await self._get("/prefetch", headers)
        if answer.status == 503:
            self.counters["prefetch_shed"] += 1
            return _number(answer.headers.get("retry-after", ""), self._backoff(_MANY))
        if answer.status == 200:
            self._keep(answer)
        elif answer.status != 304:
            raise BadAnswer(f"the prefetch server answered {answer.status}")
        self.counters[f"prefetch_{answer.status}"] += 1
        _, _, age = answer.headers.get("cache-control", "").partition("max-age=")
        return _number(age, _LIFETIME_SECONDS) * self._random.uniform(1 - self._settings.jitter, 1)

    async def pull(self) -> bool:
        """Asks the prefetch server for a newer state: the fallback where no gateway answers."""
        since = self.state.version if self.state else 0
        answer = await self._get(f"/state?since={since}", {"Priority": "u=0"})
        self.counters["pulls"] += 1
        return answer.status == 200 and self.receive(answer.body)

    async def _get(self, path: str, headers: Mapping[str, str]) -> Answer:
        for _ in range(2):
            sent = {**headers, **self._authorization}
            answer = await get(self._base + path, sent, self._settings.timeout, _BODY_BYTES)
            if answer.status != 401 or not self._renew(sent):
                break
        self._is_token_proven |= answer.status != 401
        if answer.status in (401, 403, 404):
            why = answer.body[:200].decode(errors="replace")
            raise UserError(f"the prefetch server refuses user {self._user!r}: {why}")
        return answer

    def _renew(self, sent: Mapping[str, str]) -> bool:
        """Gets a token in place of the one that was sent; False where that cannot help."""
        if sent["Authorization"] == self._authorization["Authorization"] and self._is_token_proven:
            self._authorization = {"Authorization": f"Bearer {self._token()}"}
            self._is_token_proven = False
            self.counters["tokens_renewed"] += 1
        return sent["Authorization"] != self._authorization["Authorization"]

    def _keep(self, answer: Answer) -> None:
        try:
            value = json_object(answer.body, _BODY_BYTES, "the prefetch answer")
            whose = value.get("event"), value.get("user")
            require(whose == (self._event, self._user), "the prefetch answer is for another user")
            stages = value.get("stages")
            are_lists = isinstance(stages, dict) and all(
                isinstance(items, list) for items in stages.values()
            )
            require(are_lists, "the prefetch answer has no stages with their items")
        except UserError as error:
            self.counters["bad_answers"] += 1
            raise BadAnswer(str(error)) from error
        self.stages = {stage: tuple(map(str, items)) for stage, items in value["stages"].items()}
        self._etag = answer.headers.get("etag", "")
        self._show()

    def _show(self) -> None:
        """Shows what is held for the stage, and logs it unless it is on the screen already."""
        if self.state is None or not self.stages:
            return
        items = self.stages.get(self.state.stage)
        if items is None:
            self.counters["stages_unknown"] += 1
            return
        last = self.shown[-1] if self.shown else None
        if last is None or (last.version, last.items) != (self.state.version, items):
            self.shown.append(Shown(self._clock(), self.state.version, self.state.stage, items))
            self.hear(self.shown[-1])

    async def _stay_fresh(self) -> None:
        wait, failures = self._random.uniform(0, self._settings.spread), 0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._is_wanted.wait()
                await asyncio.sleep(self._backoff(0))
            try:
                # At least a retry's time, so that no answer makes it ask without a pause.
                wait, failures = max(await self.prefetch(), self._settings.retry), 0
                self._is_wanted.clear()  # by a state that came meanwhile
            except OSError as error:
                self.counters["prefetch_failures"] += 1
                _log.info("prefetch: %s", error)
                wait, failures = self._backoff(failures), failures + 1

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            is_reached, sent = False, self._authorization
            try:
                async with self._connection() as connection:
                    is_reached = self._is_token_proven = True
                    self.counters["connections"] += 1
                    async for message in connection:
                        failures = 0
                        self.receive(message)
            except InvalidStatus as error:
                status = error.response.status_code
                if status in (403, 404) or (status == 401 and not self._renew(sent)):
                    raise UserError(f"the gateway refuses user {self._user!r}: {error}") from None
            except (OSError, WebSocketException) as error:
                end = error.rcvd if isinstance(error, ConnectionClosed) else None
                if end is not None and end.code == TOKEN_EXPIRED:
                    self._renew(sent)
                _log.info("disconnected: %s", error)
            self.counters["disconnections"] += is_reached
            await asyncio.sleep(self._backoff(failures))
            failures += 1
            if not is_reached:
                try:
                    await self.pull()
                except OSError as error:
                    self.counters["pull_failures"] += 1
                    _log.info("pull: %s", error)

    def _connection(self) -> connect:
        return connect(
            f"{self._random.choice(self._gateways)}/v1/events/{self._event}/updates",
            additional_headers=self._authorization,
            compression=None,
            max_size=MESSAGE_BYTES,
            open_timeout=self._settings.timeout,
            ping_interval=self._settings.ping,
            ping_timeout=self._settings.ping,
            close_timeout=1.0,
            proxy=None,
        )

    def _backoff(self, failures: int) -> float:
        bound = min(self._settings.longest_retry, self._settings.retry * 2 ** min(failures, _MANY))
        return float(self._random.uniform(0, bound))


def _number(text: str, otherwise: float) -> float:
    """A header's seconds, within a day."""
    digits = text.strip().partition(",")[0]
    usable = digits.isascii() and digits.isdigit() and len(digits) < 10
    return min(float(digits), _LONGEST_WAIT) if usable else otherwise
