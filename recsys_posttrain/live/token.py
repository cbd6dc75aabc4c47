"""Tokens of devices: which user may read which event until when, signed with HMAC-SHA256.

A token is `<base64url of JSON>.<hexadecimal signature>`. Servers keep the secret and nothing else.
"""

import base64
import hashlib
import hmac
import json
from dataclasses import astuple, dataclass
from pathlib import Path

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError

_TOKEN_BYTES = 1024
_SECRET_BYTES = 16


@dataclass(frozen=True)
class Claim:
    """What a token grants; `expires` in seconds since 1970."""

    user: str
    event: str
    expires: float


def sign(claim: Claim, secret: bytes) -> str:
    """The token of a claim."""
    body = base64.urlsafe_b64encode(json.dumps(astuple(claim)).encode())
    return f"{body.decode()}.{_signature(body, secret)}"


def user_of(token: str, secret: bytes, event: str, now: float) -> str:
    """The user whom a token lets read `event`.

    Errors: UserError for a token that is malformed, not ours, of another event or expired.
    """
    require(0 < len(token) <= _TOKEN_BYTES, "the request has no token of a usable length")
    body, _, signature = token.encode(errors="replace").rpartition(b".")
    require(
        hmac.compare_digest(signature, _signature(body, secret).encode()),
        "the token was not signed by this service",
    )
    claim = Claim(*json.loads(base64.urlsafe_b64decode(body)))
    require(claim.event == event, f"the token is for event {claim.event!r}, not {event!r}")
    require(now < claim.expires, "the token has expired: sign in again")
    return claim.user


def bearer(header: str | None) -> str:
    """The token in an Authorization header, or nothing."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def read_secret(path: Path) -> bytes:
    """The servers' shared secret. Errors: UserError for a file that is missing or too short."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise UserError(f"the secret's file {path} cannot be read ({error.strerror})") from None
    require(
        len(secret) >= _SECRET_BYTES,
        f"the secret in {path} has {len(secret)} bytes: make one with openssl rand -hex 32",
    )
    return secret


def _signature(body: bytes, secret: bytes) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()
