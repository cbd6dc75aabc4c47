"""The short form of the fuzz test, and that its judgements can fail."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz.py")


@pytest.fixture
def workshop(script):
    return script("tests/fuzz/workshop.py")


@pytest.fixture
def reading(script):
    return script("tests/fuzz/reading.py")


@pytest.mark.timeout(600)
def test_no_input_of_any_kind_is_a_traceback_a_hang_or_a_wrong_result():
    command = [sys.executable, str(SCRIPT), "--inputs", "112", "--seed", "11"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=590, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.endswith("0 faults\n")
    assert sum(" inputs " in line for line in ended.stdout.splitlines()) == 14


def test_a_traceback_and_a_crash_are_faults(workshop, tmp_path):
    assert workshop.ended(lambda: 1 / 0, tmp_path).fault == "traceback"
    assert workshop.ended(lambda: sys.exit(3), tmp_path).fault == "exit code 3"
    assert workshop.ended(lambda: sys.exit(2), tmp_path).fault == "exit code 2 without a sentence"
    assert workshop.ended(lambda: {"read": 1}, tmp_path) == workshop.Ending(0, "", {"read": 1})


def test_what_does_not_end_is_a_hang(workshop, tmp_path):
    began = time.monotonic()
    assert workshop.ended(lambda: time.sleep(60), tmp_path, seconds=0.3).fault == "hang"
    assert time.monotonic() - began < 30


def test_a_file_that_is_cut_short_or_temporary_is_unfinished(workshop, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_text("{")
    (tmp_path / ".tmp-host-1-00000000.parquet").write_bytes(b"")
    (tmp_path / ".partial-stage").mkdir()
    (tmp_path / ".partial-stage" / "d.json").write_text("{")
    assert workshop.unfinished(tmp_path) == [".tmp-host-1-00000000.parquet", "b.json"]


def test_the_oracle_of_logs_sees_another_order_item_or_time(workshop, reading):
    second = 1_000_000_000
    later, first = ("u", "b", 2.0, 5 * second + 7), ("u", "a", 1.0, 5 * second)
    judged = reading.equals([reading.Event(*later), reading.Event(*first)])

    def fault(*history):
        return judged(workshop.Ending(0, "", {"u": [list(event) for event in history]}))

    assert fault(("a", 1.0, 5), ("b", 2.0, 5)) == ""
    assert fault(("b", 2.0, 5), ("a", 1.0, 5))
    assert fault(("a", 1.0, 5), ("c", 2.0, 5))
    assert fault(("a", 1.0, 5), ("b", 2.0, 6))
    assert judged(workshop.Ending(2, "error: no", None))
    assert reading.refused(workshop.Ending(0, "", {}))
