"""Counters as the text that Prometheus reads, at an address of their own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from socket import socket

_SECONDS, _TOGETHER = 5.0, 20


def prometheus(values: Mapping[str, float]) -> bytes:
    """One line per value, in order of name. A name may carry labels: 'requests{status="200"}'."""
    return "".join(f"live_{name} {values[name]}\n" for name in sorted(values)).encode()


@asynccontextmanager
async def reporting(
    listening: socket | None, *sources: Callable[[], Mapping[str, float]]
) -> AsyncIterator[None]:
    """Answers `GET /metrics` at a socket meanwhile; does nothing without one."""
    open_now = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        try:
            with suppress(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_SECONDS):
                    if open_now <= _TOGETHER:
                        writer.write(answered(await reader.readuntil(b"\r\n\r\n")))
                        await writer.drain()
        finally:
            open_now -= 1
            writer.close()

    def answered(head: bytes) -> bytes:
        status, body = "404 Not Found", b"this serves /metrics\n"
        if head.startswith(b"GET /metrics "):
            values = {name: value for source in sources for name, value in source().items()}
            status, body = "200 OK", prometheus(values)
        return (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    if listening is None:
        yield
        return
    async with await asyncio.start_server(answer, sock=listening, limit=8192):
        yield
