"""Keys in a file: who may read it, what it may say, and how one key follows another."""

import base64
import hashlib
import hmac
import json
from pathlib import Path

import numpy as np
import pytest
from live.attacks import handshake, status
from live.http_get import get

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.keys import Claim, Keys, bearer, claim_of, read_keys, sign

OLD, NEW = "a" * 64, "b" * 64


def _write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = _write(tmp_path / "secret", OLD, mode)
    with pytest.raises(UserError) as refusal:
        read_keys(path)
    assert str(refusal.value) == (
        f"the secret's file {path} is open to other users of this machine (mode {mode:04o}): "
        f"chmod 600 {path}"
    )
    for good in (0o600, 0o400):
        path.chmod(good)
        assert list(read_keys(path).by_id.values()) == [OLD.encode()]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "there is no key in it: create one with"),
        ("\n \n", "there is no key in it"),
        ("123456789012345\n", "15 bytes, fewer than 16: create one with (umask 077; openssl rand"),
        (f"one:{OLD}\ntwo:short", "key two has 5 bytes"),
        (f"one:{OLD}\none:{NEW}", "two keys of one id"),
        (f"a.b:{OLD}", "not 'a.b'"),
        (f"{'i' * 33}:{OLD}", "a key's id is 1 to 32 letters"),
        (f":{OLD}", "not ''"),
        ("\u00e9" * 40, "is not text: create one with"),
    ],
)
def test_a_file_that_holds_no_keys_is_one_sentence(tmp_path: Path, text, sentence) -> None:
    with pytest.raises(UserError) as refusal:
        read_keys(_write(tmp_path / "secret", text))
    assert sentence in str(refusal.value)
    assert OLD not in str(refusal.value)
    with pytest.raises(UserError, match="cannot be read"):
        read_keys(tmp_path / "none")


def test_a_key_follows_another_and_nothing_valid_is_refused(tmp_path: Path) -> None:
    """Servers get the new key, then sign with it, then forget the old one."""
    before, second, first, after = (
        read_keys(_write(tmp_path / "secret", text))
        for text in (OLD, f"{OLD}\n2026:{NEW}\n", f"2026:{NEW}\n{OLD}\n", f"2026:{NEW}")
    )
    claim = Claim("u1", "final", 1000.0)
    old, new = sign(claim, before), sign(claim, first)
    assert sign(claim, second) == old
    assert new.startswith("2026.")
    for keys, accepted in (
        (before, {old}), (second, {old, new}), (first, {old, new}), (after, {new}),
    ):  # fmt: skip
        for token in (old, new):
            if token in accepted:
                assert claim_of(token, keys, "final", 0.0) == claim
            else:
                with pytest.raises(UserError, match="not signed by this service"):
                    claim_of(token, keys, "final", 0.0)
    # The id alone says which key: under another id the same signature is not one.
    with pytest.raises(UserError, match="not signed"):
        claim_of("2026" + old[old.index(".") :], second, "final", 0.0)


def test_a_signature_of_one_purpose_is_none_of_another() -> None:
    keys = Keys({"k": OLD.encode()})
    name, signature = keys.sign("state", b"x")
    assert keys.has_signed("state", b"x", name, signature)
    for purpose, body, key in (("token", b"x", "k"), ("state", b"y", "k"), ("state", b"x", "j")):
        assert not keys.has_signed(purpose, body, key, signature)


@pytest.mark.parametrize(
    "claim",
    [
        *([], {}, "u1", None, 5, ["u1"], ["u1", "final"], ["u1", "final", 1e9, 2], "x" * 500),
        *(["u1", "final", each] for each in ("9e9", None, True, [], -1, 1e12, float("nan"))),
        *([each, "final", 9e9] for each in (None, 5, ["u1"], {"a": 1})),
        ["u1", "final", 10**400],
    ],
    ids=str,
)
def test_a_malformed_claim_with_the_right_key_is_refused(keys, claim) -> None:
    token = _signed(json.dumps(claim).encode(), keys)
    with pytest.raises(UserError, match=r"claim is not a user, an event and a time|no token"):
        claim_of(token, keys, "final", 5.0)


def _signed(body: bytes, keys: Keys) -> str:
    text = base64.urlsafe_b64encode(body)
    name, signature = keys.sign("token", text)
    return f"{name}.{text.decode()}.{signature}"


async def test_servers_answer_401_to_a_malformed_claim(serving, keys) -> None:
    async with serving() as service:
        for body in (b"[1,2]", b"{", b"\xff", b"[" * 600, b'["u1","final","x"]'):
            token = _signed(body, keys)
            code, writer = await status(service.ports[0], handshake("final", token))
            writer.close()
            assert code == 401, body
            url = f"{service.http}/v1/events/final/prefetch"
            answer = await get(url, {"Authorization": f"Bearer {token}"}, 5)
            assert answer.status == 401, body


TOKEN_KEY = b"0123456789abcdef"
TOKEN_KEYS = Keys({"k1": TOKEN_KEY})
CLAIM = Claim("u 7 é", "final", 1000.0)


def test_a_token_is_the_hmac_that_its_docstring_says() -> None:
    body = base64.urlsafe_b64encode(json.dumps(["u 7 é", "final", 1000.0]).encode())
    signature = hmac.new(TOKEN_KEY, b"token\n" + body, hashlib.sha256).hexdigest()
    assert sign(CLAIM, TOKEN_KEYS) == f"k1.{body.decode()}.{signature}"


def test_it_grants_its_user_its_event_until_it_expires() -> None:
    token = sign(CLAIM, TOKEN_KEYS)
    assert claim_of(token, TOKEN_KEYS, "final", 999.9) == CLAIM
    with pytest.raises(UserError, match="expired"):
        claim_of(token, TOKEN_KEYS, "final", 1000.0)
    with pytest.raises(UserError, match="for event 'final', not 'other'"):
        claim_of(token, TOKEN_KEYS, "other", 0.0)
    with pytest.raises(UserError, match="not signed"):
        claim_of(token, Keys({"k1": b"another secret of us"}), "final", 0.0)


def test_no_change_of_one_character_is_accepted() -> None:
    token = sign(CLAIM, TOKEN_KEYS)
    random = np.random.default_rng(0)
    for place in range(len(token)):
        other = chr(random.integers(1, 0x2FF))
        changed = token[:place] + other + token[place + 1 :]
        if changed != token:
            with pytest.raises(UserError):
                claim_of(changed, TOKEN_KEYS, "final", 0.0)
        with pytest.raises(UserError):
            claim_of(token[:place], TOKEN_KEYS, "final", 0.0)


@pytest.mark.parametrize("token", ["", ".", "a.b", "é.ü", "x" * 5000, "\udcff.a", "." * 50])
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(UserError):
        claim_of(token, TOKEN_KEYS, "final", 0.0)


def test_the_header() -> None:
    assert bearer("Bearer abc") == bearer("bearer  abc ") == "abc"
    assert bearer(None) == bearer("") == bearer("Basic abc") == bearer("abc") == ""
