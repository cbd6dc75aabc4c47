"""What the processes of a service have in common: sockets, a broker, metrics, and a good end."""

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    from recsys_posttrain.live.keys import Keys
    from recsys_posttrain.live.redis_broker import RedisBroker

_OPEN_FILES = 65_536  # where there is no limit
_SECONDS, _TOGETHER = 5.0, 20  # of requests for metrics


def run_to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Runs until it ends, with as many open files, which sockets are, as the system allows.

    A UserError of a task is raised as itself.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else most
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        with suppress(asyncio.CancelledError):
            asyncio.run(work)
    except* UserError as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


def stop_on_signals() -> asyncio.Event:
    """Set when the process is asked to end."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def until_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event | None = None) -> None:
    """Runs work that has no end of its own until it fails or `stop` is set; None: by a signal."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task((stop or stop_on_signals()).wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        working.result()
    working.cancel()


async def redis_at(url: str, keys: "Keys") -> "RedisBroker":
    """A broker that answers. Errors: UserError where none does."""
    from recsys_posttrain.live.redis_broker import RedisBroker

    broker = RedisBroker(url, keys)
    await broker.newest("none")  # BrokerDown now, and not from a service that seems to run
    return broker


def listening(host: str, port: int, scheme: str) -> socket.socket:
    """A socket that accepts connections; its address is printed. Errors: UserError."""
    try:
        opened = socket.create_server((host, port), backlog=4096)
    except OSError as error:
        sentence = f"cannot listen at {host}:{port} ({error.strerror}): another port?"
        raise UserError(sentence) from None
    typer.echo(f"serving {scheme}://{host}:{opened.getsockname()[1]}")
    return opened


def listening_for_metrics(address: str | None) -> socket.socket | None:
    """A socket at HOST:PORT, or none. Errors: UserError for another text."""
    if address is None:
        return None
    host, _, port = address.rpartition(":")
    require(
        host and port.isascii() and port.isdigit() and int(port) <= 65_535,
        f"--metrics takes HOST:PORT such as 127.0.0.1:9100, not {address!r}",
    )
    return listening(host.strip("[]"), int(port), "http")


def require_url(url: str, scheme: str, option: str) -> None:
    """UserError unless an option has a URL of this scheme, or of the same with TLS."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in (scheme, f"{scheme}s") and parts.hostname and parts.port != 0
    except ValueError:
        is_good = False
    require(is_good, f"{option} takes a URL such as {scheme}://127.0.0.1:8000, not {url!r}")


def prometheus(values: Mapping[str, float]) -> bytes:
    """Counters as Prometheus reads them, by name, which may have labels: requests{status="200"}."""
    return "".join(f"live_{name} {values[name]}\n" for name in sorted(values)).encode()


@asynccontextmanager
async def reporting(
    listening: socket.socket | None, *sources: Callable[[], Mapping[str, float]]
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
