"""How many times faster one side is than another, with an interval (peers.py)."""

import statistics
from collections.abc import Mapping
from typing import Any

from scipy.stats import binom

Measured = Mapping[str, Mapping[str, list[float]]]  # kind, side: a value for each round


def ratios(measured: Measured, opponents: Mapping[str, str]) -> dict[str, Any]:
    """Of each pair of rivals, for each kind. opponents: by name of a peer, which of ours it meets.

    Rounds are paired: what a machine gives moves from one minute to the next.
    """
    result: dict[str, Any] = {}
    for kind, values in measured.items():
        for peer, ours in opponents.items():
            if ours not in values or peer not in values:
                continue
            fast, slow = values[ours], values[peer]
            if kind != "train":  # seconds, not events per second
                fast, slow = slow, fast
            pairs = sorted(f / s for f, s in zip(fast, slow, strict=False))
            outside = left_out(len(pairs))
            result.setdefault(kind, {})[f"{ours} to {peer}"] = {
                "of_medians": round(statistics.median(fast) / statistics.median(slow), 2),
                "median_of_pairs": round(statistics.median(pairs), 2),
                "interval_of_pairs": [round(pairs[outside], 2), round(pairs[-1 - outside], 2)],
            }
    return result


def left_out(count: int) -> int:
    """How many of the smallest, and of the largest, of `count` values lie outside of an interval
    that holds the median of what they are drawn from, with 95% at least (of 5 or fewer with less).

    Each value is below that median with probability 1/2, so the interval that leaves k out on each
    side misses it with probability 2 P(Binomial(count, 1/2) <= k).
    """
    outside = 0
    while 2 * binom.cdf(outside + 1, count, 0.5) <= 0.05:
        outside += 1
    return outside
