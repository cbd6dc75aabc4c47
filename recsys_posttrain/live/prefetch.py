"""The prefetch server: gives each user's recommendations for every stage of an event, before it.

A request runs no model and reads no more than one user's lists; a revalidation (304) reads none.
An answer belongs to the user of the token: there is no other way to name a user.
"""

import asyncio
import gzip
import hashlib
import json
import math
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from socket import socket
from typing import Protocol, cast

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.broker import Broker, follow
from recsys_posttrain.live.door import REQUEST_SECONDS, Door, Limits
from recsys_posttrain.live.keys import Keys, bearer, claim_of
from recsys_posttrain.live.schedule import ScheduleFile
from recsys_posttrain.live.state import EventState
from recsys_posttrain.live.timed import TimedProtocol
from recsys_posttrain.seeding import derived_seed

_HEAD_BYTES = 16_384
_WATCH_SECONDS = 0.5
_URGENCY = re.compile(r"(?:^|,)\s*u=([0-7])\s*(?=[,;]|$)")
_DEFAULT_URGENCY = 3


class Recommendations(Protocol):
    """The lists: `of` maps each stage to item ids, best first; None for an unknown user."""

    @property
    def event(self) -> str: ...
    @property
    def version(self) -> str: ...
    def of(self, user: str) -> Mapping[str, list[str]] | None: ...


@dataclass(frozen=True)
class Shedding:
    """Which requests are refused near a moment of the event, by their priority (RFC 9218).

    Within `window` seconds of a moment, requests less urgent than `keeps` are refused. They are
    told to wait from one to `spread` windows, each for a time of its own, so that they do not come
    back at once.
    """

    window: float = 60.0
    keeps: int = 3
    spread: float = 5.0

    def refuses(self, urgency: int, now: float, moments: Iterable[float]) -> bool:
        """Whether a request of this urgency, 0 the most and 7 the least, is refused at `now`."""
        return urgency > self.keeps and any(abs(now - at) <= self.window for at in moments)


@dataclass(frozen=True)
class PrefetchSettings:
    """Times in seconds. An answer may be kept for max_age * (1 - jitter) to (1 + jitter)."""

    max_age: float = 3600.0
    jitter: float = 0.3
    shedding: Shedding = Shedding()
    limits: Limits = Limits()
    request: float = REQUEST_SECONDS


class PrefetchServer:
    """Answers devices of one event; `app` is its ASGI application. `clock`: seconds since 1970."""

    def __init__(
        self,
        recommendations: Recommendations,
        keys: Keys,
        broker: Broker,
        schedule: ScheduleFile | None = None,
        settings: PrefetchSettings = PrefetchSettings(),
        clock: Callable[[], float] = time.time,
        seed: int = 0,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._recommendations = recommendations
        self._event = recommendations.event
        self._keys = keys
        self._broker = broker
        self._schedule = schedule
        self._settings = settings
        self._clock = clock
        self._random = np.random.default_rng(derived_seed(seed, "prefetch", self._event))
        self._newest: EventState | None = None
        self._changed_at = -math.inf  # when the newest came here, by our own clock
        self._starts = tuple(schedule.current().starts.values()) if schedule else ()
        self.app = Starlette(
            routes=[
                Route("/v1/events/{event}/prefetch", self._counted("prefetch", self._prefetch)),
                Route("/v1/events/{event}/state", self._counted("state", self._state)),
                Route("/health", self._health),
            ]
        )
        self.app.router.redirect_slashes = False  # to where the Host header says

    async def run(self, listening: socket, stop: asyncio.Event) -> None:
        """Serves until `stop` is set or the process is told to end; open requests are finished."""
        door = Door(self._settings.limits, self.counters)
        protocol = partial(TimedProtocol, door, self.counters, self._settings.request)
        server = uvicorn.Server(
            uvicorn.Config(
                self.app,
                http=cast(type[asyncio.Protocol], protocol),
                lifespan="off",
                log_config=None,
                log_level="error",  # else each bad request of anybody is a line
                access_log=False,
                ws="none",
                server_header=False,
                date_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=_HEAD_BYTES,
                timeout_graceful_shutdown=5,
            )
        )
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(
                follow(self._broker, self._event, self.receive, self.counters, self._random)
            )
            watching = tasks.create_task(self._watch())
            serving = tasks.create_task(server.serve(sockets=[listening]))
            serving.add_done_callback(lambda _: stop.set())
            await stop.wait()
            server.should_exit = True
            await serving
            following.cancel()
            watching.cancel()

    def receive(self, state: EventState) -> None:
        """Takes a state that the broker has; one that is not newer is ignored."""
        if state.event == self._event and state.is_newer(self._newest):
            self._newest, self._changed_at = state, self._clock()

    def values(self) -> dict[str, float]:
        """Counters and gauges by their names in the metrics."""
        schedule = self._schedule.counters if self._schedule else {}
        values = {**self.counters, **schedule, "state_version": self._version}
        return {f"prefetch_{name}": value for name, value in values.items()}

    @property
    def _version(self) -> int:
        return self._newest.version if self._newest else 0

    async def _watch(self) -> None:
        """Keeps the starts of a schedule that may change."""
        while self._schedule is not None:
            self._starts = tuple(self._schedule.current().starts.values())
            await asyncio.sleep(_WATCH_SECONDS)

    def _counted(
        self, route: str, answer: Callable[[Request, str], Response]
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that answers the user of the token, or says why not, and counts both."""

        async def endpoint(request: Request) -> Response:
            try:
                response = answer(request, self._user(request))
            except HTTPException as refusal:
                headers = {"Cache-Control": "no-store", **(refusal.headers or {})}
                body = json.dumps({"error": refusal.detail})
                response = Response(body, refusal.status_code, headers, "application/json")
            self.counters[f'requests{{route="{route}",status="{response.status_code}"}}'] += 1
            self.counters["sent_bytes"] += len(response.body)
            return response

        return endpoint

    def _prefetch(self, request: Request, user: str) -> Response:
        # Weak, because the same content has two encodings; of the user too, because the address
        # is the same for all of them.
        content = f"{self._recommendations.version}\n{user}".encode()
        etag = hashlib.blake2b(content, digest_size=12).hexdigest()
        spread = self._random.uniform(1 - self._settings.jitter, 1 + self._settings.jitter)
        headers = {
            "ETag": f'W/"{etag}"',
            "Cache-Control": f"private, max-age={round(self._settings.max_age * spread)}",
            "Vary": "Authorization, Accept-Encoding",
        }
        if f'"{etag}"' in request.headers.get("if-none-match", ""):
            return Response(b"", 304, headers)
        stages = self._recommendations.of(user)
        if stages is None:
            raise HTTPException(404, f"no recommendations for user {user!r}")
        value = {"event": self._event, "user": user, "stages": stages}
        body = json.dumps(value, separators=(",", ":")).encode()
        if "gzip" in request.headers.get("accept-encoding", ""):
            body, headers["Content-Encoding"] = gzip.compress(body, 5, mtime=0), "gzip"
        return Response(body, 200, headers, "application/json")

    def _state(self, request: Request, user: str) -> Response:
        since = request.query_params.get("since", "0")
        if not (since.isascii() and since.isdigit() and len(since) < 20):
            raise HTTPException(400, "since is a version, a whole number")
        headers = {"Cache-Control": "no-store"}
        if self._newest is None or self._version <= int(since):
            return Response(b"", 204, headers)
        return Response(self._newest.to_json(), 200, headers, "application/json")

    async def _health(self, request: Request) -> Response:
        content = self._recommendations.version
        body = {"event": self._event, "state": self._version, "content": content}
        return Response(json.dumps(body), media_type="application/json")

    def _user(self, request: Request) -> str:
        """The user of the token. Errors: HTTPException for a request that is not served."""
        headers, now, shedding = request.headers, self._clock(), self._settings.shedding
        if request.path_params["event"] != self._event:
            raise HTTPException(404, f"this server has event {self._event}")
        # uvicorn bounds a head that is incomplete, and not one that comes in a single piece.
        if sum(len(name) + len(value) for name, value in headers.raw) > _HEAD_BYTES:
            raise HTTPException(431, "the headers are too long", {"Connection": "close"})
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            raise HTTPException(413, "send no body", {"Connection": "close"})
        moments = (self._changed_at, *self._starts)
        if shedding.refuses(urgency(headers.get("priority")), now, moments):
            wait = round(shedding.window * self._random.uniform(1, shedding.spread))
            raise HTTPException(503, "busy with the event", {"Retry-After": str(wait)})
        try:
            return claim_of(bearer(headers.get("authorization")), self._keys, self._event, now).user
        except UserError as error:
            raise HTTPException(401, str(error), {"WWW-Authenticate": "Bearer"}) from None


def urgency(header: str | None) -> int:
    """`u` of a Priority header; the standard's default 3 where it has none that is valid."""
    found = _URGENCY.findall(header or "")
    return int(found[-1]) if found else _DEFAULT_URGENCY  # RFC 8941: the last of equal keys holds
