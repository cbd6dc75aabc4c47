"""Who may be connected to a server: how many in all and from one address, before a byte is read.

A connection that asks for nothing is worth least. Where there is no room, the one that has been
silent for longest makes it, so that a crowd of silent ones does not keep out a device, which asks
at once.
"""

import asyncio
import ipaddress
import resource
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from recsys_posttrain.config import require

REQUEST_SECONDS = 10.0  # a request must come whole, and its answer be taken, within so long
_OTHER_FILES = 100


@dataclass(frozen=True)
class Limits:
    """Limits on open connections.

    connections: in all.
    per_address: from one address, or from one IPv6 network of 64 bits.
    proxies: addresses of trusted proxies, whose connections are of many clients. per_address holds
        for the client that a proxy names in X-Forwarded-For; the proxy itself has no limit.
    """

    connections: int = 10_000
    per_address: int = 1000
    proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for proxy in self.proxies:
            require(_is_address(proxy), f"a trusted proxy is an IP address, not {proxy!r}")


class Door:
    """The connections of one server, each by its transport."""

    _files: ClassVar[int] = 0  # open connections of all servers of this process

    def __init__(self, limits: Limits, counters: Counter[str]) -> None:
        self._limits = limits
        self._counters = counters
        self._address: dict[asyncio.BaseTransport, str] = {}
        self._count: Counter[str] = Counter()
        self._silent: dict[asyncio.Transport, None] = {}  # those that have not asked, oldest first
        self._silent_of: dict[str, dict[asyncio.Transport, None]] = {}

    def enter(self, transport: asyncio.Transport) -> bool:
        """Counts a new connection; False, and it is closed, where there is no room for it."""
        peer = (transport.get_extra_info("peername") or ("unknown",))[0]
        is_proxy = peer in self._limits.proxies
        address = peer if is_proxy else _network(peer)
        has_room = is_proxy or self._count[address] < self._limits.per_address
        if not has_room:
            has_room = self._make_room(self._silent_of.get(address, {}), "address_limit")
        # Without a free file no connection could be accepted at all.
        are_many = len(self._address) >= self._limits.connections
        if has_room and (are_many or Door._files >= _files() - _OTHER_FILES):
            has_room = self._make_room(self._silent, "full")
        if not has_room:
            transport.abort()
            return False
        self._add(transport, address)
        self.waits(transport)
        return True

    def heard(self, transport: asyncio.Transport) -> None:
        """Notes that a connection has asked for something."""
        address = self._address.get(transport, "")
        self._silent.pop(transport, None)
        silent = self._silent_of.get(address, {})
        silent.pop(transport, None)
        if not silent:
            self._silent_of.pop(address, None)

    def waits(self, transport: asyncio.Transport) -> None:
        """Notes that a connection has its answer, and may ask again."""
        if address := self._address.get(transport):
            self._silent[transport] = None
            self._silent_of.setdefault(address, {})[transport] = None

    def is_for(self, transport: asyncio.Transport, forwarded: str | None) -> bool:
        """Whether the client that a trusted proxy connects may be; the client counts from then on.

        forwarded: the X-Forwarded-For header; its last address is the proxy's own word.
        """
        client = (forwarded or "").rpartition(",")[2].strip()
        if self._address.get(transport) not in self._limits.proxies or not _is_address(client):
            return True
        client = _network(client)
        if self._count[client] >= self._limits.per_address:
            self._counters['closed{why="address_limit"}'] += 1
            return False
        self.leave(transport)
        self._add(transport, client)
        return True

    def leave(self, transport: asyncio.Transport) -> None:
        """Forgets a connection that has ended; does nothing for one that did not enter."""
        self.heard(transport)
        if address := self._address.pop(transport, None):
            Door._files -= 1
            self._count[address] -= 1
            if not self._count[address]:
                del self._count[address]

    def _add(self, transport: asyncio.Transport, address: str) -> None:
        self._address[transport] = address
        self._count[address] += 1
        Door._files += 1

    def _make_room(self, silent: dict[asyncio.Transport, None], why: str) -> bool:
        self._counters[f'closed{{why="{why}"}}'] += 1
        oldest = next(iter(silent), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.abort()
        return True


def _files() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _network(address: str) -> str:
    """An IPv4 address as it is; of an IPv6 one its network, since a client has 2**64 of them."""
    if ":" not in address:
        return address
    value = ipaddress.IPv6Address(address.partition("%")[0])
    return str(value.ipv4_mapped or ipaddress.IPv6Network((value, 64), strict=False))
