"""The schedule: what it says at a time, what a person may do to it, and files that are not one."""

import json
import subprocess
import sys
import time

import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.schedule import Schedule, ScheduleFile, change

STAGES = ("before", "live", "break", "after")
PLAN = Schedule("final", STAGES, {"live": 100.0, "break": 200.0})
JSON = {
    "event": "final",
    "stages": list(STAGES),
    "starts": {"live": "1970-01-01T00:01:40+00:00", "break": "1970-01-01T01:03:20+01:00"},
    "ended": False,
}


@pytest.mark.parametrize(
    ("now", "stage"),
    [(0, "before"), (99.9, "before"), (100, "live"), (199, "live"), (200, "break"), (1e9, "break")],
)
def test_the_stage_at_a_time_and_no_end_by_a_timer(now, stage):
    assert PLAN.stage_at(now) == stage
    assert PLAN.finished().stage_at(now) == "after"


def test_the_file_is_read_and_written(tmp_path):
    assert Schedule.from_json(json.dumps(JSON).encode()) == PLAN
    for plan in (PLAN, PLAN.finished(), PLAN.delayed(0.125, 0)):
        plan.write(tmp_path / "schedule.json")
        assert Schedule.from_json((tmp_path / "schedule.json").read_bytes()) == plan
    assert [path.name for path in tmp_path.iterdir()] == ["schedule.json"]


def test_advance_starts_a_stage_and_those_before_it():
    assert dict(PLAN.advanced("live", 50).starts) == {"live": 50, "break": 200}
    assert dict(PLAN.advanced("break", 50).starts) == {"live": 50, "break": 50}
    assert PLAN.advanced("break", 50).stage_at(50) == "break"
    assert dict(PLAN.advanced("break", 150).starts) == {"live": 100, "break": 150}
    with pytest.raises(UserError, match=r"'live' is over, 'break' has started"):
        PLAN.advanced("live", 250)
    for stage in ("before", "after", "none"):
        with pytest.raises(UserError, match="choose one of live, break"):
            PLAN.advanced(stage, 50)


def test_delay_moves_what_is_to_come():
    assert dict(PLAN.delayed(30, 50).starts) == {"live": 130, "break": 230}
    assert dict(PLAN.delayed(30, 150).starts) == {"live": 100, "break": 230}
    assert dict(PLAN.delayed(-70, 150).starts) == {"live": 100, "break": 150}
    assert dict(PLAN.delayed(-500, 50).starts) == {"live": 50, "break": 50}


NAIVE = "2026-12-01T20:00:00"
CHANGES = {
    "more": {"more": 1},
    "event": {"event": "a b"},
    "one stage": {"stages": ["live"], "starts": {}},
    "stages twice": {"stages": ["a", "live", "live", "b"]},
    "stages of numbers": {"stages": [1, 2]},
    "stages of lists": {"stages": [[1], [2]]},
    "stages as text": {"stages": "abc"},
    "starts as a list": {"starts": []},
    "no start": {"starts": {}},
    "a start by number": {"starts": {"live": 1, "break": 2}},
    "a start without zone": {"starts": {"live": NAIVE, "break": NAIVE}},
    "turned": {"starts": dict(zip(("break", "live"), JSON["starts"].values(), strict=True))},
    "ended by a time": {"ended": f"{NAIVE}Z"},
    "ended by a number": {"ended": 1},
}
BAD = {
    **{"text": b"x", "empty": b"", "list": b"[]", "deep": b"[" * 60_000, "long": b" " * 70_000},
    **{"bytes": b"\xff\xfe", "less": json.dumps({"event": "final"}).encode()},
    **{name: json.dumps(JSON | change).encode() for name, change in CHANGES.items()},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_schedule_is_one_sentence_and_the_last_good_one_holds(name, tmp_path):
    path = tmp_path / "schedule.json"
    path.write_bytes(BAD[name])
    with pytest.raises(UserError) as refusal:
        ScheduleFile(path)
    assert len(str(refusal.value)) < 300
    PLAN.write(path)
    file = ScheduleFile(path)
    path.write_bytes(BAD[name])
    assert file.current() == PLAN
    assert file.current() == PLAN
    assert file.counters == {"bad_schedules": 1}
    PLAN.delayed(60, 0).write(path)
    assert file.current() == PLAN.delayed(60, 0)
    assert file.counters == {"bad_schedules": 1, "schedule_changes": 1}


def test_a_file_that_goes_away_or_becomes_another_event(tmp_path):
    path = tmp_path / "schedule.json"
    with pytest.raises(UserError, match="cannot be read"):
        ScheduleFile(path)
    PLAN.write(path)
    file = ScheduleFile(path)
    path.unlink()
    assert [file.current() for _ in range(3)] == [PLAN] * 3
    Schedule("other", STAGES, PLAN.starts).write(path)
    assert file.current() == PLAN
    assert file.counters == {"bad_schedules": 2}
    PLAN.finished().write(path)
    assert file.current().ended


COMMANDS = """
import sys
from pathlib import Path
from recsys_posttrain.live.cli import produce
path, count, is_ending = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "end"
sys.stdin.readline()
for number in range(count):
    produce(path, delay=1)
    if is_ending and number == count // 2:
        produce(path, end=True)
"""


def test_of_200_commands_at_once_none_is_lost(tmp_path):
    """Each moves the starts by a second; the sum says how many were kept, and the end stays."""
    path, start = tmp_path / "schedule.json", round(time.time()) + 86_400.0
    Schedule("final", STAGES, {"live": start, "break": start + 60}).write(path)
    words = [sys.executable, "-c", COMMANDS, str(path), "50"]
    processes = [
        subprocess.Popen([*words, end], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for end in ("end", "-", "-", "-")
    ]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert said.count("final: ") >= 50
    schedule = ScheduleFile(path).current()
    assert dict(schedule.starts) == {"live": start + 200, "break": start + 260}
    assert schedule.ended
    assert {each.name for each in tmp_path.iterdir()} == {".schedule.json.lock", "schedule.json"}


def test_a_change_that_is_refused_changes_nothing_and_holds_no_lock(tmp_path):
    path = tmp_path / "schedule.json"
    PLAN.write(path)
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(UserError, match="'x' cannot be started"):
            change(path, lambda planned: planned.advanced("x", 5.0))
        assert path.read_bytes() == before
    changed = change(path, lambda planned: planned.finished())
    assert changed.ended
    assert json.loads(path.read_text())["ended"] is True


def test_a_link_stays_a_link_and_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "schedule.json", tmp_path / "link.json"
    PLAN.write(real)
    link.symlink_to(real)
    change(link, lambda planned: planned.finished())
    assert link.is_symlink()
    assert ScheduleFile(real).current().ended
    with pytest.raises(UserError, match=r"the schedule .*none.json cannot be read"):
        change(tmp_path / "none.json", lambda planned: planned)
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "none.json", tmp_path / "none" / "none.json"):
        with pytest.raises(UserError, match=r"the schedule .* cannot be read \(No"):
            change(path, lambda planned: planned)
    assert {each.name for each in tmp_path.iterdir()} == {"real", "link.json", "file"}
