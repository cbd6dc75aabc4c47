"""One HTTP GET over asyncio, with limits: all that a device needs of HTTP."""

import asyncio
import zlib
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

_HEAD_BYTES = 16_384
_GZIP = 16 + zlib.MAX_WBITS


class BadAnswer(OSError):
    """What came back is not an HTTP answer within the limits."""


class Answer(NamedTuple):
    """Status, headers (names in lower case), and the body, decompressed."""

    status: int
    headers: dict[str, str]
    body: bytes


async def get(
    url: str, headers: Mapping[str, str], timeout: float, most_bytes: int = 2**20
) -> Answer:
    """Asks once, over a connection of its own. Errors: OSError, also after `timeout` seconds."""
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    port = parts.port or (443 if is_secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(
            parts.hostname, port, ssl=is_secure or None, limit=_HEAD_BYTES
        )
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode("ascii"))
            return await _read(reader, most_bytes)
        except (ValueError, EOFError, asyncio.LimitOverrunError, zlib.error) as error:
            raise BadAnswer(f"{url} gave no usable answer ({error})") from error
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader, most_bytes: int) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    status = int(first.split(" ")[1]) if first.startswith("HTTP/1.") and " " in first else 0
    length = 0 if status in (204, 304) else int(headers.get("content-length", -1))
    if not (100 <= status <= 599 and 0 <= length <= most_bytes):
        raise ValueError(f"status {status}, length {length}")
    body = await reader.readexactly(length)
    if headers.get("content-encoding") == "gzip":
        unpacking = zlib.decompressobj(_GZIP)
        body = unpacking.decompress(body, most_bytes)
        if not unpacking.eof:
            raise ValueError(f"the body is cut short, or has more than {most_bytes} bytes")
    return Answer(status, headers, body)
