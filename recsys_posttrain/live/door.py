"""Who may be connected to a server: how many in all and from one address, before a byte is read.

A connection that asks for nothing is worth least. Where there is no room, the one that has been
silent for longest makes it, so that a crowd of silent ones does not keep out a device, which asks
at once.
"""

import asyncio
import ipaddress
import resource
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import ClassVar

from recsys_posttrain.config import require

REQUEST_SECONDS = 10.0  # within which a request must have come whole, and its answer be taken
_OTHER_FILES = 100


@dataclass(frozen=True)
class Limits:
    """connections: in all. per_address: from one address, IPv6: of one network of 64 bits.

    proxies: addresses of proxies of one's own, whose connections are of many clients: per_address
    holds for the client that a proxy names in X-Forwarded-For, and the proxy itself has no limit.
    """

    connections: int = 10_000
    per_address: int = 1000
    proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for proxy in self.proxies:
            require(_is_address(proxy), f"a trusted proxy is an IP address, not {proxy!r}")


class Door:
    """The connections of one server, each by its transport."""

    _files: ClassVar[int] = 0  # of all servers of this process

    def __init__(self, limits: Limits, counters: Counter[str]) -> None:
        self._limits = limits
        self._counters = counters
        self._address: dict[asyncio.BaseTransport, str] = {}
        self._count: Counter[str] = Counter()
        self._silent: dict[asyncio.Transport, None] = {}  # that have not asked, oldest first
        self._silent_of: dict[str, dict[asyncio.Transport, None]] = defaultdict(dict)

    def enter(self, transport: asyncio.Transport) -> bool:
        """Counts a new connection; False, and it is closed, where there is no room for it."""
        peer = (transport.get_extra_info("peername") or ("unknown",))[0]
        is_proxy = peer in self._limits.proxies
        address = peer if is_proxy else _network(peer)
        is_full = not is_proxy and self._count[address] >= self._limits.per_address
        if is_full and not self._make_room(self._silent_of[address], "address_limit"):
            return self._refuse(transport, address)
        # Without a free file no connection could be accepted at all.
        is_full = (
            len(self._address) >= self._limits.connections or Door._files >= _files() - _OTHER_FILES
        )
        if is_full and not self._make_room(self._silent, "full"):
            return self._refuse(transport, address)
        self._address[transport] = address
        self._count[address] += 1
        Door._files += 1
        self.waits(transport)
        return True

    def heard(self, transport: asyncio.Transport) -> None:
        """A connection has asked for something."""
        address = self._address.get(transport, "")
        self._silent.pop(transport, None)
        silent = self._silent_of.get(address, {})
        silent.pop(transport, None)
        if not silent:
            self._silent_of.pop(address, None)

    def waits(self, transport: asyncio.Transport) -> None:
        """A connection has what it asked for, and may ask again."""
        if transport in self._address:
            self._silent[transport] = self._silent_of[self._address[transport]][transport] = None

    def is_for(self, transport: asyncio.Transport, forwarded: str | None) -> bool:
        """Whether the client for which a trusted proxy has connected may; the client counts then.

        forwarded: the X-Forwarded-For header, whose last address is the proxy's own word.
        """
        address = self._address.get(transport)
        client = (forwarded or "").rpartition(",")[2].strip()
        if address not in self._limits.proxies or not _is_address(client):
            return True
        client = _network(client)
        if self._count[client] >= self._limits.per_address:
            self._counters['closed{why="address_limit"}'] += 1
            return False
        self.leave(transport)
        self._address[transport] = client
        self._count[client] += 1
        Door._files += 1
        return True

    def leave(self, transport: asyncio.Transport) -> None:
        """A connection has ended. Does nothing for one that did not enter."""
        self.heard(transport)
        if address := self._address.pop(transport, None):
            Door._files -= 1
            self._count[address] -= 1
            if not self._count[address]:
                del self._count[address]

    def _make_room(self, silent: dict[asyncio.Transport, None], why: str) -> bool:
        self._counters[f'closed{{why="{why}"}}'] += 1
        oldest = next(iter(silent), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.abort()
        return True

    def _refuse(self, transport: asyncio.Transport, address: str) -> bool:
        if not self._silent_of.get(address, True):
            del self._silent_of[address]
        if not self._count[address]:
            del self._count[address]
        transport.abort()
        return False


def _files() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _network(address: str) -> str:
    """The address, or of one of IPv6, of which a client has 2**64, its network."""
    if ":" not in address:
        return address
    value = ipaddress.IPv6Address(address.partition("%")[0])
    if value.ipv4_mapped:
        return str(value.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(value) >> 64 << 64, 64)))
