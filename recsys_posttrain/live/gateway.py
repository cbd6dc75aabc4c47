"""A gateway: holds devices' WebSocket connections and passes each state on to all of them.

It keeps the newest state and the open connections, and nothing about a device. A device that it
drops, or that outlives it, finds the newest state in the first message of its next connection.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from socket import socket

import numpy as np
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.broker import Broker, follow
from recsys_posttrain.live.metrics import prometheus
from recsys_posttrain.live.state import MESSAGE_BYTES, EventState
from recsys_posttrain.live.token import bearer, user_of
from recsys_posttrain.seeding import derived_seed

_POLICY_VIOLATION, _TOO_LONG, _SERVICE_RESTART = 1008, 1009, 1012


@dataclass(frozen=True)
class GatewaySettings:
    """Limits of one gateway; times in seconds."""

    connections: int = 20_000
    unsent_bytes: int = 16_384  # a device that reads so slowly that more waits is dropped
    lifetime: float = 1800.0  # a connection ends after half of it to all of it
    drain: float = 10.0  # within which connections are ended one by one on shutdown
    ping: float = 20.0
    retry_after: float = 10.0  # a refused device is told to wait from this to twice this


class Gateway:
    """Serves one event to devices that have a token for it. `clock` gives seconds since 1970."""

    def __init__(
        self,
        event: str,
        secret: bytes,
        settings: GatewaySettings = GatewaySettings(),
        clock: Callable[[], float] = time.time,
        seed: int = 0,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._event = event
        self._secret = secret
        self._settings = settings
        self._clock = clock
        self._random = np.random.default_rng(derived_seed(seed, "gateway", event))
        self._open: set[ServerConnection] = set()
        self._newest: EventState | None = None
        self._message = ""
        self._is_draining = False

    async def run(self, broker: Broker, listening: socket, stop: asyncio.Event) -> None:
        """Serves until `stop` is set, then ends its connections in turn. Cancelled: at once."""
        settings = self._settings
        async with (
            serve(
                self._connected,
                sock=listening,
                process_request=self._answered,
                compression=None,  # a state is too small to gain, and zlib's memory is per device
                server_header=None,
                max_size=MESSAGE_BYTES,
                max_queue=1,
                ping_interval=settings.ping,
                ping_timeout=settings.ping,
                close_timeout=1.0,
                backlog=4096,
            ),
            asyncio.TaskGroup() as tasks,
        ):
            following = tasks.create_task(
                follow(broker, self._event, self.publish, self.counters, self._random)
            )
            await stop.wait()
            self._is_draining = True
            await asyncio.gather(*(self._end_later(connection) for connection in self._open))
            following.cancel()

    def publish(self, state: EventState) -> None:
        """Passes a state on to every open connection; one that is not newer is counted."""
        if state.event != self._event or not state.is_newer(self._newest):
            self.counters["states_ignored"] += 1
            return
        self._newest, self._message = state, state.to_json()
        for connection in list(self._open):
            if connection.transport.get_write_buffer_size() > self._settings.unsent_bytes:
                self.counters["slow_dropped"] += 1
                self._open.discard(connection)
                connection.transport.abort()
        broadcast(self._open, self._message)
        self.counters["states"] += 1
        self.counters["messages"] += len(self._open)

    def abort(self) -> None:
        """Breaks every connection without a word, as the death of a process does."""
        for connection in list(self._open):
            connection.transport.abort()

    async def _connected(self, connection: ServerConnection) -> None:
        # First among those that get the next state, then the newest: a state between is not lost.
        self._open.add(connection)
        try:
            if self._newest is not None:
                broadcast((connection,), self._message)
                self.counters["messages"] += 1
            try:
                async with asyncio.timeout(self._settings.lifetime * self._random.uniform(0.5, 1)):
                    await connection.recv()
                self.counters["bad_messages"] += 1
                await connection.close(_POLICY_VIOLATION, "a device sends no messages")
            except TimeoutError:
                self.counters["lifetimes_ended"] += 1
                await connection.close(_SERVICE_RESTART, "connect again")
        except ConnectionClosed as end:
            self.counters["bad_messages"] += end.sent is not None and end.sent.code == _TOO_LONG
        finally:
            self._open.discard(connection)

    def _answered(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer to a request that does not become a connection."""
        path = request.path.partition("?")[0]
        if path in ("/health", "/metrics"):
            return connection.respond(HTTPStatus.OK, self._report(path))
        if path != f"/v1/events/{self._event}/updates":
            return self._refused(connection, HTTPStatus.NOT_FOUND, f"this serves {self._event}")
        if self._is_draining or len(self._open) >= self._settings.connections:
            wait = self._settings.retry_after * self._random.uniform(1, 2)
            answer = self._refused(connection, HTTPStatus.SERVICE_UNAVAILABLE, "no room: wait")
            answer.headers["Retry-After"] = str(round(wait))
            return answer
        tokens = request.headers.get_all("Authorization")
        try:
            user_of(bearer(tokens[0] if tokens else None), self._secret, self._event, self._clock())
        except UserError as error:
            return self._refused(connection, HTTPStatus.UNAUTHORIZED, str(error))
        self.counters["accepted"] += 1
        return None

    def _refused(self, connection: ServerConnection, status: HTTPStatus, why: str) -> Response:
        self.counters[f'refused{{status="{status.value}"}}'] += 1
        return connection.respond(status, why + "\n")

    def _report(self, path: str) -> str:
        version = self._newest.version if self._newest else 0
        gauges = {"connections": len(self._open), "state_version": version}
        values = {f"gateway_{name}": value for name, value in {**self.counters, **gauges}.items()}
        return "ok\n" if path == "/health" else prometheus(values).decode()

    async def _end_later(self, connection: ServerConnection) -> None:
        await asyncio.sleep(self._random.uniform(0, self._settings.drain))
        await connection.close(_SERVICE_RESTART, "connect again")
