"""The table of what runs now: what it shows, of how many rows, and where."""

import io
import re

import pytest

from recsys_posttrain import progress as module
from recsys_posttrain.progress import Look, Row, in_sight, live_table, plain_console

ROWS = [
    Row("Pretrained [b]", ("none", "reused"), is_done=True),
    Row("RobustDPO(unbiased), strong", ("step 40/100, loss 0.5", ""), is_running=True),
    Row("GRPO", ("", "")),
]


def shown(is_terminal, rows=ROWS, width=80, **environment):
    file = io.StringIO()
    console = plain_console(
        file=file, force_terminal=is_terminal, width=width, height=20, _environ=environment
    )
    look = Look(rows, done=1.25, left=2.75)
    with live_table(("method", "post-training", "evaluation"), lambda: look, console):
        assert module.drawn.is_set() == (is_terminal and not environment and bool(rows))
        console.print("a line meanwhile")
    assert not module.drawn.is_set()
    return file.getvalue()


def test_a_terminal_shows_the_rows_and_the_time_left(monkeypatch):
    """1.25 units in 50 seconds are 110 seconds for the other 2.75."""
    moments = iter([100.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(moments, 150.0))
    text = shown(True)
    assert "a line meanwhile" in text
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).split() for line in text.splitlines()]
    assert ["RobustDPO(unbiased),", "strong", "step", "40/100,", "loss", "0.5"] in lines
    assert ["Pretrained", "[b]", "none", "reused"] in lines
    assert "1 of 3 done, 0:00:50 so far, 0:01:50 left" in text
    assert text.endswith("\x1b[2K"), "it goes at the end"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_names_are_never_cut(width):
    lines = shown(True, width=width).splitlines()
    assert any("RobustDPO(unbiased), strong" in line for line in lines)


def test_elsewhere_there_are_only_lines():
    for text in (shown(False), shown(True, TERM="dumb"), shown(True, rows=[])):
        assert text == "a line meanwhile\n"


def test_it_ends_with_a_mistake_too():
    console = plain_console(file=io.StringIO(), force_terminal=True)
    with pytest.raises(KeyError), live_table(("a", "b"), lambda: Look(ROWS, 0, 1), console):
        raise KeyError
    assert not module.drawn.is_set()


def test_where_room_is_short_what_runs_stays_in_sight():
    """Then what waits, in its order, and then what was done last."""
    rows = [Row(f"done {n}", (), is_done=True) for n in range(3)]
    rows += [Row("runs", (), is_running=True)]
    rows += [Row(f"waits {n}", ()) for n in range(2)]

    def names(room):
        return [row.name for row in in_sight(rows, room)]

    assert names(6) == names(9) == [row.name for row in rows]
    assert names(4) == ["done 2", "runs", "waits 0", "waits 1"]
    assert names(2) == ["runs", "waits 0"]
    assert names(1) == names(-3) == ["runs"]
