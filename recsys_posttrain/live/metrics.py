"""Counters as the text that Prometheus reads, at an address of their own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from socket import socket

_SECONDS, _TOGETHER = 5.0, 20


def prometheus(values: Mapping[str, float]) -> bytes:
    """One line per value, in order of name. A name may carry labels: 'requests{status="200"}'."""
    lines = [f"live_{name} {values[name]}\n" for name in sorted(values)]
    return "".join(lines).encode()


@asynccontextmanager
async def reporting(
    listening: socket | None, values: Callable[[], Mapping[str, float]]
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
                        head = await reader.readuntil(b"\r\n\r\n")
                        is_asked = head.startswith(b"GET /metrics ")
                        body = prometheus(values()) if is_asked else b"this serves /metrics\n"
                        writer.write(
                            f"HTTP/1.1 {'200 OK' if is_asked else '404 Not Found'}\r\n"
                            "Content-Type: text/plain; version=0.0.4\r\nConnection: close\r\n"
                            f"Content-Length: {len(body)}\r\n\r\n".encode()
                            + body
                        )
                        await writer.drain()
        finally:
            open_now -= 1
            writer.close()

    if listening is None:
        yield
        return
    async with await asyncio.start_server(answer, sock=listening, limit=8192):
        yield
