"""Tokens of devices: which user may read which event until when, signed by the servers' key.

A token is `<id of the key>.<base64url of JSON>.<hexadecimal signature>`. Servers keep their keys
and nothing else.
"""

import base64
import json
from dataclasses import astuple, dataclass

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.live.keys import Keys

_TOKEN_BYTES = 1024
_LAST_SECOND = 1e11
_PURPOSE = "token"


@dataclass(frozen=True)
class Claim:
    """What a token grants; `expires` in seconds since 1970. UserError for fields of other types."""

    user: str
    event: str
    expires: float

    def __post_init__(self) -> None:
        require(
            isinstance(self.user, str)
            and isinstance(self.event, str)
            and type(self.expires) in (int, float)
            and 0 <= self.expires <= _LAST_SECOND,
            "the token's claim is not a user, an event and a time",
        )


def sign(claim: Claim, keys: Keys) -> str:
    """The token of a claim."""
    body = base64.urlsafe_b64encode(json.dumps(astuple(claim)).encode())
    name, signature = keys.sign(_PURPOSE, body)
    return f"{name}.{body.decode()}.{signature}"


def claim_of(token: str, keys: Keys, event: str, now: float) -> Claim:
    """What a token grants, which is to read `event`.

    Errors: UserError for a token that is malformed, not ours, of another event or expired.
    """
    require(0 < len(token) <= _TOKEN_BYTES, "the request has no token of a usable length")
    name, _, rest = token.partition(".")
    text, _, signature = rest.rpartition(".")
    body = text.encode(errors="replace")
    require(
        keys.has_signed(_PURPOSE, body, name, signature), "the token was not signed by this service"
    )
    try:
        claim = Claim(*json.loads(base64.urlsafe_b64decode(body)))
    except (ValueError, TypeError, RecursionError):
        raise UserError("the token's claim is not a user, an event and a time") from None
    require(claim.event == event, f"the token is for event {claim.event!r}, not {event!r}")
    require(now < claim.expires, "the token has expired: sign in again")
    return claim


def bearer(header: str | None) -> str:
    """The token in an Authorization header, or nothing."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
