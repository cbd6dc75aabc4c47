"""Randomness as a function of names: a resumed run draws what an unbroken one would."""

import hashlib

from recsys_posttrain.config import require

MOST = 2**63 - 1


def derived_seed(*parts: object) -> int:
    """A 63-bit seed from any printable parts: derived_seed(run_seed, "posttrain", step)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def require_seeds(seeds: object, owner: str) -> None:
    """Raises UserError unless these are one or more whole numbers from 0, each there once.

    The same seed twice would count one run as two, and narrow every interval.
    """
    given = seeds if isinstance(seeds, list | tuple) else ()
    are_whole = all(
        isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= MOST for seed in given
    )
    require(
        given and are_whole and len(set(given)) == len(given),
        f"{owner}={seeds!r} must be a tuple of one or more whole numbers from 0, each there once.",
    )
