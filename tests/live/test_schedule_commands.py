"""Many people change one schedule at once: each change is in the file afterwards."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.schedule import Schedule, ScheduleFile, change

STAGES = ("before", "live", "break", "after")
COMMANDS = """
import sys
from pathlib import Path
from recsys_posttrain.live.commands import produce
path, count, is_ending = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "end"
sys.stdin.readline()
for number in range(count):
    produce(path, delay=1)
    if is_ending and number == count // 2:
        produce(path, end=True)
"""


def test_of_200_commands_at_once_none_is_lost(tmp_path: Path) -> None:
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
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        ".schedule.json.lock",
        "schedule.json",
    ]


def test_a_change_that_is_refused_changes_nothing_and_holds_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    Schedule("final", STAGES, {"live": 100.0, "break": 200.0}).write(path)
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(UserError, match="'x' cannot be started"):
            change(path, lambda planned: planned.advanced("x", 5.0))
        assert path.read_bytes() == before
    changed = change(path, lambda planned: planned.finished())
    assert changed.ended
    assert json.loads(path.read_text())["ended"] is True


def test_a_link_stays_a_link_and_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "schedule.json", tmp_path / "link.json"
    Schedule("final", STAGES, {"live": 100.0, "break": 200.0}).write(real)
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
