"""Clients as they must not be: silent or slow ones, floods of pings, many sockets of one token.

All of them are bounded, and reach nothing but this machine.
"""

import asyncio
import os
import resource
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"  # both are this machine, and two addresses to a server
_PINGS_AT_ONCE = 400
_FILES_KEPT = 1_000


@asynccontextmanager
async def crowd(
    port: int, count: int, says: bytes = b"", source: str = ELSEWHERE
) -> AsyncIterator[list[socket.socket]]:
    """So many connections from one address that say the start of a request at most, and wait."""
    loop, opened = asyncio.get_running_loop(), list[socket.socket]()
    try:
        for _ in range(count):
            each = socket.socket()
            opened.append(each)
            each.setblocking(False)
            each.bind((source, 0))
            await loop.sock_connect(each, (HERE, port))
            with suppress(OSError):  # closed already
                each.send(says)
        yield opened
    finally:
        for each in opened:
            each.close()


def free_files() -> int:
    """How many more files, which sockets are, this process may open; some are kept for the rest."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(0, allowed - len(os.listdir("/proc/self/fd")) - _FILES_KEPT)


def is_open(connection: socket.socket) -> bool:
    """Whether the server has left a connection as it is."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:
        return False


def handshake(event: str, token: str, more: str = "") -> bytes:
    """The request for a WebSocket. more: further headers, each with its line's end."""
    return (
        f"GET /v1/events/{event}/updates HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\n{more}"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()


async def status(port: int, request: bytes) -> tuple[int, asyncio.StreamWriter]:
    """What a request is answered (0: nothing), and its connection, which stays open."""
    reader, writer = await asyncio.open_connection(HERE, port)
    with suppress(OSError, EOFError):
        writer.write(request)
        return int((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]), writer
    return 0, writer


async def ping_flood(port: int, request: bytes, seconds: float) -> int:
    """Sends pings without a pause and reads no answer; how many bytes the server took."""
    loop, sent = asyncio.get_running_loop(), 0
    with socket.socket() as flooding:
        flooding.setblocking(False)
        await loop.sock_connect(flooding, (HERE, port))
        await loop.sock_sendall(flooding, request)
        await loop.sock_recv(flooding, 65_536)
        ping = b"\x89\xfd" + bytes(4) + os.urandom(125)
        until = time.monotonic() + seconds
        with suppress(OSError, TimeoutError):
            while time.monotonic() < until:
                async with asyncio.timeout(max(0.01, until - time.monotonic())):
                    await loop.sock_sendall(flooding, _PINGS_AT_ONCE * ping)
                sent += _PINGS_AT_ONCE * len(ping)
    return sent
