"""A bar says how far work is, on a terminal alone, and how long it will take."""

import io
from types import SimpleNamespace

import pytest

from recsys_posttrain.progress import Left, plain_console, progress_bar, time_left


def test_the_time_left_in_hours_minutes_and_seconds():
    assert time_left(3, 1200.4) == "1:00:01"
    assert time_left(0, 7) == "0:00:00"


@pytest.mark.parametrize(
    ("completed", "remaining", "elapsed", "shown"),
    [(2, 6, 30.0, "0:01:30"), (0, 8, 30.0, "-:--:--"), (2, None, 30.0, "-:--:--")],
)
def test_it_goes_by_the_mean_pace(completed, remaining, elapsed, shown):
    """Nothing is known before the first unit is done, nor where nobody knows how many there are."""
    task = SimpleNamespace(completed=completed, remaining=remaining, elapsed=elapsed, fields={})
    assert str(Left().render(task)) == shown  # type: ignore[arg-type]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_is_for_a_terminal(is_terminal):
    file = io.StringIO()
    console = plain_console(file=file, force_terminal=is_terminal, width=100)
    with progress_bar("runs [b]", 3, console) as advance:
        for _ in range(3):
            advance(1)
    shown = file.getvalue()
    assert ("runs [b]" in shown) == ("3/3" in shown) == is_terminal
    assert is_terminal or not shown.strip()
