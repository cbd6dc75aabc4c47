"""Tokens: what they grant, and that nothing else does."""

import base64
import hashlib
import hmac
import json
from pathlib import Path

import numpy as np
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.token import Claim, bearer, read_secret, sign, user_of

SECRET = b"0123456789abcdef"
CLAIM = Claim("u 7 é", "final", 1000.0)


def test_a_token_is_the_hmac_that_its_docstring_says() -> None:
    body = base64.urlsafe_b64encode(json.dumps(["u 7 é", "final", 1000.0]).encode())
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    assert sign(CLAIM, SECRET) == f"{body.decode()}.{signature}"


def test_it_grants_its_user_its_event_until_it_expires() -> None:
    token = sign(CLAIM, SECRET)
    assert user_of(token, SECRET, "final", 999.9) == "u 7 é"
    with pytest.raises(UserError, match="expired"):
        user_of(token, SECRET, "final", 1000.0)
    with pytest.raises(UserError, match="for event 'final', not 'other'"):
        user_of(token, SECRET, "other", 0.0)
    with pytest.raises(UserError, match="not signed"):
        user_of(token, b"another secret of us", "final", 0.0)


def test_no_change_of_one_character_is_accepted() -> None:
    token = sign(CLAIM, SECRET)
    random = np.random.default_rng(0)
    for place in range(len(token)):
        other = chr(random.integers(1, 0x2FF))
        changed = token[:place] + other + token[place + 1 :]
        if changed != token:
            with pytest.raises(UserError):
                user_of(changed, SECRET, "final", 0.0)
        with pytest.raises(UserError):
            user_of(token[:place], SECRET, "final", 0.0)


@pytest.mark.parametrize("token", ["", ".", "a.b", "é.ü", "x" * 5000, "\udcff.a", "." * 50])
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(UserError):
        user_of(token, SECRET, "final", 0.0)


def test_the_header() -> None:
    assert bearer("Bearer abc") == bearer("bearer  abc ") == "abc"
    assert bearer(None) == bearer("") == bearer("Basic abc") == bearer("abc") == ""


def test_a_secret_that_is_missing_or_short(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_secret(tmp_path / "none")
    (tmp_path / "short").write_bytes(b"123456789012345\n")
    with pytest.raises(UserError, match="15 bytes: make one"):
        read_secret(tmp_path / "short")
    (tmp_path / "good").write_bytes(SECRET + b"\n")
    assert read_secret(tmp_path / "good") == SECRET
