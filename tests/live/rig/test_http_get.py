"""A GET of a device, and what servers may answer."""

import asyncio
import gzip
import time

import pytest
from live.http_get import BadAnswer, get


async def _checked(url, name):
    answer = await get(url, {}, 5)
    pytest.fail(f"{name}: {answer}")


async def test_a_get_does_not_trust_its_server():
    answers = {
        b"": "nothing",
        b"HTTP/1.1 200 OK\r\n\r\n": "no length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n": "too long",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n": "negative",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab": "cut short",
        b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n": "status",
        b"HTTP/1.1 \xb2 OK\r\nContent-Length: 0\r\n\r\n": "status of other digits",
        b"HTTP/1.1\r\n\r\n": "no status",
        b"SSH-2.0-x\r\n\r\n": "another protocol",
        b"x" * 70_000: "endless head",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc": "not gzip",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
        % (len(bomb := gzip.compress(b"\0" * 2**22, mtime=0)), bomb): "a bomb",
    }

    for raw, name in answers.items():

        async def answer(reader, writer, raw=raw):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BadAnswer):
            await _checked(f"http://127.0.0.1:{port}/", name)
        server.close()
    with pytest.raises(OSError):
        await get(f"http://127.0.0.1:{port}/", {}, 5)

    async def silent(reader, writer):
        await asyncio.sleep(1)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        await get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, 0.05)
    assert time.monotonic() - begun < 0.9
    server.close()
