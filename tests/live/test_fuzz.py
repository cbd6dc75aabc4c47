"""Malformed requests and messages: no unhandled exception, no memory that stays.

RECSYS_POSTTRAIN_FUZZ sets how many of each kind; 10,000 is run ahead of time.
"""

import asyncio
import gc
import json
import logging
import os
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from live.attacks import handshake
from live.device import Device

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.broker import EmbeddedBroker
from recsys_posttrain.live.keys import Keys, claim_of
from recsys_posttrain.live.schedule import Schedule
from recsys_posttrain.live.state import EventState

KEYS = Keys({"k": b"a secret of the fuzz"})
CASES = int(os.environ.get("RECSYS_POSTTRAIN_FUZZ", "60"))
TOGETHER = 10
# A connection, request or message that stays holds more than this (a connection 17 KiB); what the
# interpreter keeps of its own over so many cases is less.
BYTES_PER_CASE = 1024
MESSAGE = EventState("final", 7, "live", 5.0).to_json().encode()
SCHEDULE = json.dumps(
    {"event": "final", "stages": ["before", "live", "after"],
     "starts": {"live": "2026-12-01T20:00:00+00:00"}, "ended": False}
).encode()  # fmt: skip
PIECES = [b"\r\n", b"\r\n\r\n", b":", b",", b"%00", b"\xff", b"\0", b"[", b"{", b'"', b"9" * 400,
          b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: [\r\n", b"/", b"?",
          b"Host: a/b?\r\n", b"\\ud800", b"NaN", b"-1", b"x" * 3000, b"e999", b"true", b"u=9",
          b"If-None-Match: *\r\n", b"Priority: u=7\r\n", b"Upgrade: websocket\r\n"]  # fmt: skip


def _mutated(text, random):
    """1 to 4 cuts, flips, repeats or insertions."""
    for _ in range(random.integers(1, 5)):
        start, end = sorted(map(int, random.integers(0, len(text) + 1, size=2)))
        kind = random.integers(0, 5)
        if kind == 0:
            text = text[:start] + text[end:]
        elif kind == 1:
            text = text[:start] + random.bytes(random.integers(1, 4)) + text[start + 1 :]
        elif kind == 2:
            text = text[:end] + text[start:]
        elif kind == 3:
            text = text[:start] + PIECES[random.integers(0, len(PIECES))] + text[start:]
        else:
            text = text[:start]
    return text


@pytest.fixture
def complaints(caplog):
    """Exceptions that reached a log or the event loop: there are to be none."""
    found: list[object] = []
    caplog.set_level(logging.ERROR)

    def check():
        raised = [record.getMessage() for record in caplog.records if record.exc_info]
        unexpected = [text for text in raised if text != "opening handshake failed"]
        assert not [*unexpected, *found]

    async def watch():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))

    check.watch = watch  # type: ignore[attr-defined]
    return check


async def _send(port, raw, random):
    """Sends in one or two pieces and reads a little; what came back."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            cut = int(random.integers(0, len(raw) + 1))
            writer.write(raw[:cut])
            if random.random() < 0.5:
                await asyncio.sleep(0)
            writer.write(raw[cut:])
            writer.write_eof()
            answer = await reader.read(65_536)
            writer.close()
            return answer
    except (OSError, TimeoutError):
        return b""


async def _without_growth(case, cases, settle):
    """Runs the cases; the second half must leave the memory as the first left it."""
    held = []
    tracemalloc.start()
    for _ in range(2):
        for _ in range(0, cases // 2, TOGETHER):
            await asyncio.gather(*(case() for _ in range(TOGETHER)))
        await settle()
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] - held[0] < BYTES_PER_CASE * cases / 2, held


def test_requests_to_the_prefetch_server(serving, token_of, complaints):
    random = np.random.default_rng(0)

    async def story():
        await complaints.watch()
        async with serving() as service:
            await service.broker.append(EventState("final", 7, "live", 5.0))
            port = int(service.http.rpartition(":")[2])

            async def case():
                path = ("prefetch", "state?since=6", "../metrics")[random.integers(0, 3)]
                request = (
                    f"GET /v1/events/final/{path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n"
                    'Priority: u=3\r\nIf-None-Match: "x"\r\n'
                    f"Authorization: Bearer {token_of('u1')}\r\n\r\n"
                ).encode()
                answer = await _send(port, _mutated(request, random), random)
                assert not answer.startswith(b"HTTP/1.1 500"), answer

            async def settle():
                await asyncio.sleep(0.3)

            await _without_growth(case, CASES, settle)
            assert len(service.prefetch.counters) < 30
            routes = {name.partition(",")[0] for name in service.prefetch.counters}
            assert routes <= {'requests{route="prefetch"', 'requests{route="state"', "sent_bytes"}

    asyncio.run(story())
    complaints()


def test_handshakes_and_frames_to_the_gateway(serving, token_of, complaints, until):
    random = np.random.default_rng(1)

    async def story():
        await complaints.watch()
        async with serving() as service:
            await service.broker.append(EventState("final", 7, "live", 5.0))

            async def case():
                request = handshake("final", token_of("u1"))
                if random.random() < 0.5:
                    raw = _mutated(request, random)
                else:
                    raw = request + random.bytes(random.integers(1, 300))
                await _send(service.ports[0], raw, random)

            async def settle():
                await until(lambda: not service.gateways[0]._open)

            await _without_growth(case, CASES, settle)
            assert len(service.gateways[0].counters) < 15

    asyncio.run(story())
    complaints()


async def test_messages_schedules_and_tokens():
    """Four times the cases: each is read, or refused with one sentence."""
    random = np.random.default_rng(2)

    device = Device("u1", "final", str, "http://x", ("ws://x",))
    device.stages = {"live": ("x",)}
    broker = EmbeddedBroker()
    highest = 0

    async def case():
        nonlocal highest
        message = _mutated(MESSAGE, random)
        applied = device.receive(message)
        if applied:
            assert device.state.version > highest
            highest = device.state.version
        for read in (
            lambda: Schedule.from_json(_mutated(SCHEDULE, random)).stage_at(5.0),
            lambda: claim_of(_mutated(MESSAGE, random).decode("latin-1"), KEYS, "final", 0.0),
            lambda: EventState.from_json(_mutated(MESSAGE, random).decode("utf-8", "replace")),
        ):
            with suppress(UserError):
                read()

    async def settle():
        return None

    await _without_growth(case, 4 * CASES, settle)
    assert await broker.newest("final") is None
    assert device.counters["bad_messages"] > CASES
