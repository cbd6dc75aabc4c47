"""What logs say, by hand."""

import numpy as np
from live.device import Shown
from live.measure import PROMISES, delays_ms, per_second, promises, quantiles

from recsys_posttrain.live.state import EventState

NEWEST = EventState("final", 2, "live", 10.0)
LISTS = {"a": {"before": ["1"], "live": ["2"]}, "b": {"before": ["3"], "live": ["4"]}}
FIRST = {"a": Shown(9.0, 1, "before", ("1",)), "b": Shown(9.5, 1, "before", ("3",))}
SECOND = {"a": Shown(10.25, 2, "live", ("2",)), "b": Shown(12.0, 2, "live", ("4",))}


def _promises(b_log, applied=4):
    logs = {"a": [FIRST["a"], SECOND["a"]], "b": b_log}
    return tuple(promises(logs, NEWEST, LISTS, applied)[name] for name in PROMISES)


def test_promises():
    """Wrong at the end, twice or backwards, another's."""
    first, second = FIRST["b"], SECOND["b"]
    assert _promises([first, second]) == (0, 0, 0)
    assert _promises([first, second], applied=5) == (0, 1, 0)
    assert _promises([first], applied=3) == (1, 0, 0)
    assert _promises([], applied=2) == (1, 0, 0)
    assert _promises([first, second, first], applied=5) == (1, 1, 0)
    assert _promises([first, second, second], applied=5) == (0, 1, 0)
    assert _promises([first, SECOND["a"]]) == (1, 0, 1)


def test_times_are_from_publication_to_shown():
    delays = delays_ms({"b": [FIRST["b"], SECOND["b"]], "a": [SECOND["a"]]}, NEWEST)
    assert delays.tolist() == [250.0, 2000.0]
    assert quantiles(delays) == {"p50_ms": 1125.0, "p99_ms": 1982.5, "max_ms": 2000.0}
    assert quantiles(delays[:0]) == {"p50_ms": None, "p99_ms": None, "max_ms": None}


def test_a_rate_is_of_the_second_that_ends():
    at, count = np.array([0, 0.5, 1, 1.5, 2]), np.array([0, 1.0, 3, 3, 7])
    assert per_second(at, count).tolist() == [0, 1, 3, 2, 4]
