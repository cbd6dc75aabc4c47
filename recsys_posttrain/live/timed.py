"""HTTP/1.1 connections that cannot be held: each step of an exchange has its time.

uvicorn waits for ever for the rest of a request, and for a client to take its answer.
"""

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from recsys_posttrain.live.door import Door


class TimedProtocol(H11Protocol):
    """uvicorn's own protocol, which ends where a request or its answer takes too long."""

    def __init__(self, door: Door, counters: Counter[str], seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self._door = door
        self._counters = counters
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._door.enter(transport):
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._door.leave(self.transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:  # a request is there, and its answer begins
            self._door.heard(self.transport)
            self._begin()

    def on_response_complete(self) -> None:
        before = self.cycle
        super().on_response_complete()
        if self.cycle is before:  # no other request was waiting
            self._door.waits(self.transport)
        self._begin()

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.transport.is_closing() or self.transport.get_write_buffer_size():
            self._timer = self.loop.call_later(self._seconds, self._end)

    def _end(self) -> None:
        self._counters['closed{why="slow"}'] += 1
        self.transport.abort()
