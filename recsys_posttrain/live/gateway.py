"""A gateway: holds devices' WebSocket connections and passes each state on to all of them.

It keeps the newest state and the open connections, and nothing about a device. A device that it
drops, or that outlives it, finds the newest state in the first message of its next connection.
"""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from socket import socket
from typing import Any, cast

import numpy as np
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.broker import Broker, follow
from recsys_posttrain.live.door import REQUEST_SECONDS, Door, Limits
from recsys_posttrain.live.keys import Claim, Keys, bearer, claim_of
from recsys_posttrain.live.state import MESSAGE_BYTES, TOKEN_EXPIRED, EventState
from recsys_posttrain.seeding import derived_seed

_POLICY_VIOLATION, _TOO_LONG, _SERVICE_RESTART = 1008, 1009, 1012
_HANDSHAKES = 1000  # connections above the limit, which are told to wait
_BYTES_PER_SECOND = 256  # a device sends pings and answers to pings


@dataclass(frozen=True)
class GatewaySettings:
    """Limits of one gateway; times in seconds."""

    connections: int = 20_000
    per_address: int = 1000
    per_user: int = 10
    proxies: tuple[str, ...] = ()  # see door.Limits
    unsent_bytes: int = 16_384  # a device that reads so slowly that more waits is dropped
    received_bytes: int = 16_384  # of a device, at first; then so many more in each second
    lifetime: float = 1800.0  # a connection ends after half of it to all of it
    drain: float = 10.0  # within which connections are ended one by one on shutdown
    ping: float = 20.0
    retry_after: float = 10.0  # a refused device is told to wait from this to twice this


class _Connection(ServerConnection):
    """A device's connection, which ends where it floods the gateway."""

    claim: Claim | None = None  # of the token with which it was accepted

    def __init__(self, gateway: "Gateway", *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._gateway = gateway
        self._began = self.loop.time()
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._gateway.door.enter(self.transport)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        further = _BYTES_PER_SECOND * (self.loop.time() - self._began)
        if self._received > self._gateway.settings.received_bytes + further:
            self._gateway.drop(self, "flood")
        elif not self.transport.is_closing():
            super().data_received(data)
            self._gateway.drop_if_slow(self)  # each ping puts an answer into the buffer

    def connection_lost(self, exc: Exception | None) -> None:
        self._gateway.door.leave(self.transport)
        self._gateway.left(self)
        super().connection_lost(exc)


class Gateway:
    """Serves one event to devices that have a token for it."""

    def __init__(
        self, event: str, keys: Keys, settings: GatewaySettings = GatewaySettings(), seed: int = 0
    ) -> None:
        self.counters: Counter[str] = Counter()
        limits = Limits(settings.connections + _HANDSHAKES, settings.per_address, settings.proxies)
        self.door = Door(limits, self.counters)
        self._event = event
        self._keys = keys
        self.settings = settings
        self._random = np.random.default_rng(derived_seed(seed, "gateway", event))
        self._open: set[ServerConnection] = set()
        self._accepted: Counter[str] = Counter()  # connections by user, from their acceptance on
        self._held = 0  # all of them
        self._newest: EventState | None = None
        self._message = ""
        self._is_draining = False

    async def run(self, broker: Broker, listening: socket, stop: asyncio.Event) -> None:
        """Serves until `stop` is set, then ends its connections in turn. Cancelled: at once."""
        settings = self.settings
        async with (
            serve(
                self._connected,
                sock=listening,
                create_connection=cast(type[ServerConnection], partial(_Connection, self)),
                process_request=self._answered,
                open_timeout=REQUEST_SECONDS,
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
            self.drop_if_slow(connection)
        broadcast(self._open, self._message)
        self.counters["states"] += 1
        self.counters["messages"] += len(self._open)

    def drop_if_slow(self, connection: ServerConnection) -> None:
        """Breaks a connection whose device does not read what it is sent."""
        if connection.transport.get_write_buffer_size() > self.settings.unsent_bytes:
            self.drop(connection, "slow")

    def drop(self, connection: ServerConnection, why: str) -> None:
        """Breaks a connection, whose memory is free at once."""
        self.counters[f'closed{{why="{why}"}}'] += 1
        self._open.discard(connection)
        connection.transport.abort()

    def left(self, connection: _Connection) -> None:
        """A connection has ended, accepted or not."""
        if connection.claim is not None:
            self._held -= 1
            self._accepted[connection.claim.user] -= 1
            if not self._accepted[connection.claim.user]:
                del self._accepted[connection.claim.user]

    def values(self) -> dict[str, float]:
        """Counters and gauges by their names in the metrics."""
        gauges = {"connections": len(self._open), "state_version": self._version}
        return {f"gateway_{name}": value for name, value in {**self.counters, **gauges}.items()}

    @property
    def _version(self) -> int:
        return self._newest.version if self._newest else 0

    async def _connected(self, connection: ServerConnection) -> None:
        claim = cast(_Connection, connection).claim
        assert claim is not None
        left = claim.expires - time.time()
        lifetime = self.settings.lifetime * self._random.uniform(0.5, 1)
        # First among those that get the next state, then the newest: a state between is not lost.
        self._open.add(connection)
        try:
            if self._newest is not None:
                broadcast((connection,), self._message)
                self.counters["messages"] += 1
            try:
                async with asyncio.timeout(min(left, lifetime)):
                    await connection.recv()
                end, code, why = "bad_messages", _POLICY_VIOLATION, "a device sends no messages"
            except TimeoutError:
                end, code, why = "lifetimes_ended", _SERVICE_RESTART, "connect again"
                if left <= lifetime:
                    end, code = "tokens_expired", TOKEN_EXPIRED
                    why = "the token has expired: get another"
            self.counters[end] += 1
            await connection.close(code, why)
        except ConnectionClosed as closed:
            sent = closed.sent
            self.counters["bad_messages"] += sent is not None and sent.code == _TOO_LONG
        finally:
            self._open.discard(connection)

    def _answered(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer to a request that does not become a connection."""
        self.door.heard(connection.transport)
        refuse, settings = partial(self._refused, connection), self.settings
        path, headers = request.path.partition("?")[0], request.headers
        if path == "/health":
            body = json.dumps({"event": self._event, "state": self._version})
            return connection.respond(HTTPStatus.OK, body + "\n")
        if path != f"/v1/events/{self._event}/updates":
            return refuse(HTTPStatus.NOT_FOUND, f"this serves {self._event}")
        if self._is_draining or self._held >= settings.connections:
            return refuse(HTTPStatus.SERVICE_UNAVAILABLE, "no room: wait")
        token = bearer(next(iter(headers.get_all("Authorization")), None))
        try:
            claim = claim_of(token, self._keys, self._event, time.time())
        except UserError as error:
            return refuse(HTTPStatus.UNAUTHORIZED, str(error))
        if self._accepted[claim.user] >= settings.per_user:
            why = f"a user may have {settings.per_user} connections"
            return refuse(HTTPStatus.TOO_MANY_REQUESTS, why)
        forwarded = next(reversed(headers.get_all("X-Forwarded-For")), None)
        if not self.door.is_for(connection.transport, forwarded):
            why = f"an address may have {settings.per_address} connections"
            return refuse(HTTPStatus.TOO_MANY_REQUESTS, why)
        cast(_Connection, connection).claim = claim
        self._held += 1
        self._accepted[claim.user] += 1
        self.counters["accepted"] += 1
        return None

    def _refused(self, connection: ServerConnection, status: HTTPStatus, why: str) -> Response:
        self.counters[f'refused{{status="{status.value}"}}'] += 1
        answer = connection.respond(status, why + "\n")
        if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            wait = self.settings.retry_after * self._random.uniform(1, 2)
            answer.headers["Retry-After"] = str(round(wait))
        return answer

    async def _end_later(self, connection: ServerConnection) -> None:
        await asyncio.sleep(self._random.uniform(0, self.settings.drain))
        await connection.close(_SERVICE_RESTART, "connect again")
