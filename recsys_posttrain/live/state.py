"""The state of an event, which is all that a message says.

A state replaces the one before it and its version only grows. So the newest alone is enough, and a
message that is lost, repeated or overtaken does no harm.

An event's first version is the second in which it was written, and each later one is one more, so
that versions stay near the clock. A number far ahead of it would hide every state to come, so
readers refuse it.
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError

MESSAGE_BYTES = 1024
TOKEN_EXPIRED = 4001  # a gateway's last word to a device, of the codes free for one's own use
AHEAD_SECONDS = 3600.0
LAST_SECOND = 1e11
_LARGEST_VERSION = 2**53 - 1  # the largest whole number that every JSON reader keeps exactly
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class EventState:
    """Which stage an event is in. `published`: seconds since 1970 by the producer's clock.

    Errors: UserError for a field of another type or out of range.
    """

    event: str
    version: int
    stage: str
    published: float

    def __post_init__(self) -> None:
        for name in (self.event, self.stage):
            require_name(name, "a state's event and stage")
        require(
            type(self.version) is int and 1 <= self.version <= _LARGEST_VERSION,
            f"a state's version is a whole number from 1 to 2**53 - 1, not {self.version!r:.40}",
        )
        require(
            is_second(self.published),
            f"a state's time is in seconds since 1970, not {self.published!r:.40}",
        )

    def is_newer(self, other: "EventState | None") -> bool:
        """Whether this state replaces `other`; any state replaces none."""
        return other is None or self.version > other.version

    def is_ahead(self, now: float, seconds: float = AHEAD_SECONDS) -> bool:
        """Whether the version is one that no producer can have come to by `now`."""
        return self.version > now + seconds

    def to_json(self) -> str:
        """The message: one line of JSON, below MESSAGE_BYTES."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, message: str | bytes) -> "EventState":
        """Reads a message. Errors: UserError unless it has exactly the fields of a state."""
        names = {field.name for field in fields(cls)}
        return cls(**json_object(message, MESSAGE_BYTES, "a state's message", names))


def is_second(value: object) -> bool:
    """Whether it is a time in seconds since 1970."""
    return type(value) in (int, float) and 0 <= value <= LAST_SECOND  # type: ignore[operator]


def require_name(name: object, what: str) -> None:
    """UserError unless it is a name that an address and a stream's key can hold."""
    require(
        isinstance(name, str) and _NAME.fullmatch(name),
        f"{what} must be 1 to 64 of A-Z a-z 0-9 . _ -, not {name!r:.40}",
    )


def json_object(
    text: str | bytes, most_bytes: int, what: str, names: set[str] | None = None
) -> dict[str, Any]:
    """A JSON object from an untrusted source.

    names: exactly the fields that it must have; None: any.
    Errors: UserError that names `what` it is.
    """
    size = len(text)  # of a str, characters: a lower bound that needs no copy
    require(size <= most_bytes, f"{what} has {size} bytes; at most {most_bytes} are read")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what} is not JSON ({error!s:.80})") from None
    require(isinstance(value, dict), f"{what} is not a JSON object")
    if names is not None:
        require(value.keys() == names, f"{what} has exactly {', '.join(sorted(names))}")
    return dict(value)
