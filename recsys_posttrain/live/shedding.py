"""What a server still answers near a moment of the event, by the request's priority (RFC 9218)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_URGENCY = re.compile(r"(?:^|,)\s*u=([0-7])\s*(?=[,;]|$)")
_DEFAULT_URGENCY = 3


@dataclass(frozen=True)
class Shedding:
    """Within `window` seconds of a moment, requests less urgent than `keeps` are refused.

    They are told to wait from one to `spread` windows, each for a time of its own, so that what
    is shed does not come back at once.
    """

    window: float = 60.0
    keeps: int = 3
    spread: float = 5.0

    def refuses(self, urgency: int, now: float, moments: Iterable[float]) -> bool:
        """Whether a request of this urgency, 0 the most and 7 the least, is refused at `now`."""
        return urgency > self.keeps and any(abs(now - at) <= self.window for at in moments)


def urgency(header: str | None) -> int:
    """`u` of a Priority header; the standard's default 3 where it has none that is valid."""
    found = _URGENCY.findall(header or "")
    return int(found[-1]) if found else _DEFAULT_URGENCY  # RFC 8941: the last of equal keys holds
