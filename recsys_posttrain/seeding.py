"""Randomness as a function of names: a resumed run draws what an unbroken one would."""

import hashlib


def derived_seed(*parts: object) -> int:
    """A 63-bit seed from any printable parts: derived_seed(run_seed, "posttrain", step)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
