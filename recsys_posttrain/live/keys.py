"""The servers' secret keys, which sign states and devices' tokens with HMAC-SHA256.

A file has one key in each line, as `key` or `id:key`. The first line signs, every line verifies, so
that a new key can follow an old one while what the old one signed is still valid.

A token says which user may read which event until when. It is
`<id of the key>.<base64url of JSON>.<hexadecimal signature>`. Servers keep their keys and nothing
else.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.live.state import is_second

_FILE_BYTES = 65_536
_KEY_BYTES = 16
_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_TOKEN_BYTES = 1024
_PURPOSE = "token"
_NO_CLAIM = "the token's claim is not a user, an event and a time"
_HOW = "create one with (umask 077; openssl rand -hex 32 > {})"


@dataclass(frozen=True)
class Keys:
    """Keys by id, the one that signs first. Errors: UserError for none, or one that is short."""

    by_id: Mapping[str, bytes]

    def __post_init__(self) -> None:
        require(self.by_id, "there is no key in it")
        for name, key in self.by_id.items():
            rule = "a key's id is 1 to 32 letters, digits, hyphens or underscores"
            require(_ID.fullmatch(name), f"{rule}, not {name!r:.40}")
            size = len(key)
            require(size >= _KEY_BYTES, f"key {name} has {size} bytes, fewer than {_KEY_BYTES}")

    def sign(self, purpose: str, body: bytes) -> tuple[str, str]:
        """(id of the key, hexadecimal signature); valid for this purpose and no other."""
        name = next(iter(self.by_id))
        return name, _signature(self.by_id[name], purpose, body)

    def has_signed(self, purpose: str, body: bytes, name: str, signature: str) -> bool:
        """Whether the key of this id has signed it."""
        if name not in self.by_id:
            return False
        own = _signature(self.by_id[name], purpose, body)
        return hmac.compare_digest(own.encode(), signature.encode(errors="replace"))


def read_keys(path: Path) -> Keys:
    """The keys in a file. Errors: UserError if it is missing, open to others or malformed."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(_FILE_BYTES).decode("ascii").strip()
    except OSError as error:
        raise UserError(f"the secret's file {path} cannot be read ({error.strerror})") from None
    except ValueError:
        raise UserError(f"the secret in {path} is not text: {_HOW.format(path)}") from None
    require(
        not mode & 0o077,
        f"the secret's file {path} is open to other users of this machine (mode {mode:04o}): "
        f"chmod 600 {path}",
    )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = [_id_and_key(line) for line in lines]
    require(len(dict(pairs)) == len(pairs), f"{path} has two keys of one id: give each its own")
    try:
        return Keys(dict(pairs))
    except UserError as error:
        sentence = f"the secret in {path} cannot be used, {error}: {_HOW.format(path)}"
        raise UserError(sentence) from None


def _id_and_key(line: str) -> tuple[str, bytes]:
    """A key without an id is named by the start of its hash, which says nothing about it."""
    name, colon, key = line.rpartition(":")
    return name if colon else hashlib.sha256(key.encode()).hexdigest()[:8], key.strip().encode()


def _signature(key: bytes, purpose: str, body: bytes) -> str:
    return hmac.new(key, purpose.encode() + b"\n" + body, hashlib.sha256).hexdigest()


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
