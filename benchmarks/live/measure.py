"""What devices' logs say: the promises, the times to update, and rates. For the demo and the bench.

A log is what a device showed, in its order; `Logs` has one per user.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from live.device import Shown
from recsys_posttrain.live.state import EventState

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Logs = Mapping[str, Sequence[Shown]]
Lists = Mapping[str, Mapping[str, Sequence[str]]]  # user -> stage -> items
Floats = NDArray[np.float64]

PROMISES = {
    "wrong_final_state": "devices with a wrong final state",
    "twice_or_backwards": "updates applied twice or backwards",
    "not_their_own": "lists shown that are not the user's own",
}


def promises(logs: Logs, newest: EventState, lists: Lists, applied: int) -> dict[str, int]:
    """What PROMISES says must be 0. lists: of all users. applied: updates that devices, which had
    their lists before the first, counted; each shows whatever it applies."""
    backwards = sum(
        later.version <= earlier.version
        for log in logs.values()
        for earlier, later in pairwise(log)
    )
    unseen = applied - sum(map(len, logs.values()))
    return {
        "wrong_final_state": sum(
            not logs.get(user)
            or (logs[user][-1].version, list(logs[user][-1].items))
            != (newest.version, list(own[newest.stage]))
            for user, own in lists.items()
        ),
        "twice_or_backwards": backwards + max(0, unseen),
        "not_their_own": sum(
            list(shown.items) != list(lists[user].get(shown.stage, ()))
            for user, log in logs.items()
            for shown in log
        ),
    }


def delays_ms(logs: Logs, state: EventState) -> Floats:
    """From publication to shown, of the devices that showed this version; sorted."""
    found = [
        1000 * (shown.at - state.published)
        for log in logs.values()
        for shown in log
        if shown.version == state.version
    ]
    return np.sort(np.array(found, dtype=np.float64))


def quantiles(delays: Floats) -> dict[str, float | None]:
    """p50, p99 and max in ms; None where nobody showed it."""
    names = "p50_ms", "p99_ms", "max_ms"
    if not len(delays):
        return dict.fromkeys(names)
    values = np.percentile(delays, (50, 99, 100))
    return {name: round(float(each), 1) for name, each in zip(names, values, strict=True)}


def per_second(at: Floats, count: Floats) -> Floats:
    """How much a count grew in the second that ends at each moment of `at`."""
    growth: Floats = count - np.interp(at - 1, at, count, left=0)
    return growth


def plain_ticks(axis: "Axes") -> None:
    """Milliseconds on a logarithmic axis, as people write them."""
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")


def look(line: Mapping[str, Any]) -> dict[str, Any]:
    """A style of figures.LINES without its marker, which would hide a series of many points."""
    return {"color": line["color"], "linestyle": line["linestyle"]}
