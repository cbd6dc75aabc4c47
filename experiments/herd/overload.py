"""A server that answers so many requests a second, and devices that come again when it says 503."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys_posttrain.config import require

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Retry:
    """How long a device waits after its n-th 503 (n from 0), in whole seconds.

    after_seconds, which the server names in Retry-After, and then a number drawn evenly from
    0, 1, ..., min(cap_seconds, base_seconds 2^n) - 1: exponential backoff with full jitter
    (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). base_seconds =
    cap_seconds = 1 is a fixed wait.
    """

    after_seconds: int = 1
    base_seconds: int = 2
    cap_seconds: int = 64

    def __post_init__(self) -> None:
        require(
            self.after_seconds >= 1 and 1 <= self.base_seconds <= self.cap_seconds,
            f"{self}: after_seconds and base_seconds must be 1 or more, cap_seconds at least "
            "base_seconds",
        )

    def widths(self) -> list[int]:
        """From how many seconds the wait is drawn, after each 503 until this no longer grows."""
        widths = [self.base_seconds]
        while widths[-1] < self.cap_seconds:
            widths.append(min(2 * widths[-1], self.cap_seconds))
        return widths


class Load(NamedTuple):
    """asked_T: requests in each second, retries too. served_T: those answered. retried_T: the part
    of asked_T that had a 503 before."""

    asked_T: Counts
    served_T: Counts
    retried_T: Counts

    def seconds_until(self, share: float, devices: int) -> int | None:
        """The first second at whose end this share of the devices is served; None: never so far."""
        is_there_T = self.served_T.cumsum() >= share * devices
        return int(is_there_T.argmax()) if is_there_T.any() else None


def overload(first_T: Counts, capacity: int, retry: Retry, generator: np.random.Generator) -> Load:
    """What a server that serves `capacity` requests/s is asked when first_T devices come.

    Of the requests of a second, the served ones are drawn evenly; the others get a 503, whose cost
    is not modelled. Devices never give up; who is not served in T seconds stays so. Exact in law:
    counts by attempt and second, drawn from (hyper-)multinomial distributions.
    """
    require(capacity >= 1, f"capacity is {capacity}: give 1 request/s or more")
    widths, seconds = retry.widths(), len(first_T)
    # Row a: devices that have had a 503s, in the last row at least so many.
    due_AT = np.zeros((len(widths) + 1, seconds + retry.after_seconds + widths[-1]), dtype=np.int64)
    due_AT[0, :seconds] = first_T
    served_T = np.zeros(seconds, dtype=np.int64)
    for second in range(seconds):
        asked_A = due_AT[:, second]
        served_T[second] = min(int(asked_A.sum()), capacity)
        if served_T[second] < capacity:
            continue
        refused_A = asked_A - generator.multivariate_hypergeometric(
            asked_A, capacity, method="marginals"
        )
        start = second + retry.after_seconds
        for attempt in np.flatnonzero(refused_A).tolist():
            width = widths[min(attempt, len(widths) - 1)]
            following = min(attempt + 1, len(widths))
            due_AT[following, start : start + width] += generator.multinomial(
                refused_A[attempt], np.full(width, 1 / width)
            )
    return Load(due_AT[:, :seconds].sum(axis=0), served_T, due_AT[1:, :seconds].sum(axis=0))
