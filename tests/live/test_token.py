"""Tokens: what they grant, and that nothing else does."""

import base64
import hashlib
import hmac
import json

import numpy as np
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.keys import Claim, Keys, bearer, claim_of, sign

KEY = b"0123456789abcdef"
KEYS = Keys({"k1": KEY})
CLAIM = Claim("u 7 é", "final", 1000.0)


def test_a_token_is_the_hmac_that_its_docstring_says() -> None:
    body = base64.urlsafe_b64encode(json.dumps(["u 7 é", "final", 1000.0]).encode())
    signature = hmac.new(KEY, b"token\n" + body, hashlib.sha256).hexdigest()
    assert sign(CLAIM, KEYS) == f"k1.{body.decode()}.{signature}"


def test_it_grants_its_user_its_event_until_it_expires() -> None:
    token = sign(CLAIM, KEYS)
    assert claim_of(token, KEYS, "final", 999.9) == CLAIM
    with pytest.raises(UserError, match="expired"):
        claim_of(token, KEYS, "final", 1000.0)
    with pytest.raises(UserError, match="for event 'final', not 'other'"):
        claim_of(token, KEYS, "other", 0.0)
    with pytest.raises(UserError, match="not signed"):
        claim_of(token, Keys({"k1": b"another secret of us"}), "final", 0.0)


def test_no_change_of_one_character_is_accepted() -> None:
    token = sign(CLAIM, KEYS)
    random = np.random.default_rng(0)
    for place in range(len(token)):
        other = chr(random.integers(1, 0x2FF))
        changed = token[:place] + other + token[place + 1 :]
        if changed != token:
            with pytest.raises(UserError):
                claim_of(changed, KEYS, "final", 0.0)
        with pytest.raises(UserError):
            claim_of(token[:place], KEYS, "final", 0.0)


@pytest.mark.parametrize("token", ["", ".", "a.b", "é.ü", "x" * 5000, "\udcff.a", "." * 50])
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(UserError):
        claim_of(token, KEYS, "final", 0.0)


def test_the_header() -> None:
    assert bearer("Bearer abc") == bearer("bearer  abc ") == "abc"
    assert bearer(None) == bearer("") == bearer("Basic abc") == bearer("abc") == ""
