"""What one gateway and one prefetch server do on this machine: sockets held, time of an update to
all, memory of a connection, and revalidations (304) per second of one core.

    python benchmarks/live_gateway.py [--sockets 5000 10000] [--updates 20] [--seconds 5]

The servers are one process and the devices another, on loopback without TLS, each pinned to a core
of its own. An update's time is from its publication to when the device's process reads it, for
every socket; the clock is the same. The device's side is bare protocol code, so that the servers'
cost is what is measured; it shares the machine all the same.
"""

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from live.processes import memory_bytes, processor_seconds

from recsys_posttrain.live.broker import EmbeddedBroker
from recsys_posttrain.live.gateway import Gateway, GatewaySettings
from recsys_posttrain.live.keys import Claim, Keys, sign
from recsys_posttrain.live.prefetch import PrefetchServer
from recsys_posttrain.live.state import EventState

KEYS, EVENT, PIPELINES = Keys({"bench": b"0" * 32}), "bench", 8
SETTINGS = GatewaySettings(ping=600, per_address=10**6)  # a Socket answers no pings
PUBLISHED = re.compile(rb'"published":([0-9.]+)')


class Lists:
    """Ten items for each of three stages, the same for all users."""

    event, version = EVENT, "0" * 64

    def of(self, user: str) -> dict[str, list[str]]:
        return {stage: [str(item) for item in range(10)] for stage in ("before", "live", "after")}


class Socket(asyncio.Protocol):
    """A device's connection that only notes that it is open and how late each message is."""

    def __init__(self, request: bytes, opened: list[float], delays: list[float]) -> None:
        self.request, self.opened, self.delays = request, opened, delays

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        at = time.time()
        if data.startswith(b"HTTP/1.1 101 "):
            self.opened.append(at)
        self.delays += [at - float(published) for published in PUBLISHED.findall(data)]


async def serve(updates: int) -> None:
    """Both servers; a line on standard input publishes the updates, half a second apart."""
    broker, stop = EmbeddedBroker(), asyncio.Event()
    http, sockets = (socket.create_server(("127.0.0.1", 0), backlog=4096) for _ in range(2))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(PrefetchServer(Lists(), KEYS, broker).run(http, stop))
        tasks.create_task(Gateway(EVENT, KEYS, SETTINGS).run(broker, sockets, stop))
        print(http.getsockname()[1], sockets.getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for version in range(1, updates + 1):
            await broker.append(EventState(EVENT, version, "live", time.time()))
            await asyncio.sleep(0.5)
        await asyncio.to_thread(sys.stdin.readline)
        os._exit(0)


async def revalidate(port: int, headers: str, until: float) -> int:
    """Requests one after another on one connection; how many were answered 304."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    path, count = f"/v1/events/{EVENT}/prefetch", 0
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n{headers}"
    writer.write(f"{request}\r\n".encode())
    etag = (await reader.readuntil(b"\r\n\r\n")).decode().partition("etag: ")[2].split("\r")[0]
    await reader.readuntil(b"]}}")
    while time.time() < until:
        writer.write(f"{request}If-None-Match: {etag}\r\n\r\n".encode())
        count += b" 304 " in await reader.readuntil(b"\r\n\r\n")
    return count


async def measure(sockets: int, updates: int, seconds: float) -> dict[str, object]:
    """Starts the servers, then plays the devices."""
    command = [sys.executable, __file__, "--serve", "--updates", str(updates)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    os.sched_setaffinity(server.pid, {max(os.sched_getaffinity(0))})
    http, gateway = map(int, server.stdout.readline().split())
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tokens = [sign(Claim(f"user {n}", EVENT, time.time() + 900), KEYS) for n in range(sockets)]
    lines = [f"Authorization: Bearer {token}\r\n" for token in tokens]
    computed = processor_seconds(server.pid)
    counts = await asyncio.gather(
        *(revalidate(http, line, time.time() + seconds) for line in lines[:PIPELINES])
    )
    computed = processor_seconds(server.pid) - computed
    before, loop = memory_bytes(server.pid), asyncio.get_running_loop()
    opened: list[float] = []
    delays: list[float] = []
    upgrade = (
        f"GET /v1/events/{EVENT}/updates HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\n"
    )
    for line in lines:
        request = f"{upgrade}{line}\r\n".encode()
        await loop.create_connection(partial(Socket, request, opened, delays), "127.0.0.1", gateway)
    while len(opened) < sockets:
        await asyncio.sleep(0.1)
    held = memory_bytes(server.pid)
    sending = processor_seconds(server.pid)
    server.stdin.write("\n")
    server.stdin.flush()
    deadline = time.time() + updates * 0.5 + 15
    while len(delays) < sockets * updates and time.time() < deadline:
        await asyncio.sleep(0.2)
    sending = processor_seconds(server.pid) - sending
    server.stdin.close()
    return {
        "sockets": sockets,
        "updates": updates,
        "messages received": len(delays),
        "milliseconds p50, p99, max": [
            round(1000 * float(np.quantile(delays, q)), 1) for q in (0.5, 0.99, 1)
        ],
        "messages per second of processor": round(len(delays) / sending),
        "bytes per connection": (held - before) // sockets,
        "revalidations per second": round(sum(counts) / seconds),
        "revalidations per second of processor": round(sum(counts) / computed),
        "load average": os.getloadavg()[0],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sockets", type=int, nargs="+", default=[5000, 10000])
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(serve(asked.updates))
    else:
        from shared.workload import write_result  # not in the server: it loads torch

        runs = []
        for sockets in asked.sockets:
            runs.append(asyncio.run(measure(sockets, asked.updates, asked.seconds)))
            print(json.dumps(runs[-1]), flush=True)
        write_result(Path(__file__), {"runs": runs})
