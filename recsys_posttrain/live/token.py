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
from recsys_posttrain.live.state import is_second

_TOKEN_BYTES = 1024
_PURPOSE = "token"
_NO_CLAIM = "the token's claim is not a user, an event and a time"


@dataclass(frozen=True)
class Claim:
    """What a token grants; `expires` in seconds since 1970. UserError for fields of other types."""

    user: str
    event: str
    expires: float

    def __post_init__(self) -> None:
        are_names = isinstance(self.user, str) and isinstance(self.event, str)
        require(are_names and is_second(self.expires), _NO_CLAIM)


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
    is_ours = keys.has_signed(_PURPOSE, body, name, signature)
    require(is_ours, "the token was not signed by this service")
    try:
        claim = Claim(*json.loads(base64.urlsafe_b64decode(body)))
    except (ValueError, TypeError, RecursionError):
        raise UserError(_NO_CLAIM) from None
    require(claim.event == event, f"the token is for event {claim.event!r}, not {event!r}")
    require(now < claim.expires, "the token has expired: sign in again")
    return claim


def bearer(header: str | None) -> str:
    """The token in an Authorization header, or nothing."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
