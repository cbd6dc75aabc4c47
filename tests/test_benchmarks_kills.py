"""The kill drill: a few kills here, 150 in `make kills`; and that it sees a broken promise."""

import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def kills(script, monkeypatch):
    benchmarks = Path(__file__).resolve().parents[1] / "benchmarks"
    monkeypatch.syspath_prepend(benchmarks)
    yield script("benchmarks/kills.py")
    for name in [each for each in sys.modules if each.split(".")[0] in ("killing", "shared")]:
        del sys.modules[name]


@pytest.mark.timeout(900)  # processes one after the other, and a machine may be busy
def test_three_kills_of_a_study_lose_nothing(kills, tmp_path, small_ratings_csv):
    """One of each signal."""
    drill = kills.Drill("run", 1, tmp_path, small_ratings_csv, random.Random(0))
    drill.play(3)
    assert drill.broken == []
    assert drill.kills.total() == 3
    assert {what.split()[0] for what in drill.kills} == {"SIGKILL", "SIGTERM", "SIGINT"}
    assert drill.line().startswith("run, 1 worker: 3 kills (1 SIG")
    assert ", 0 promises broken" in drill.line()


@pytest.fixture
def ended(kills, tmp_path, small_ratings_csv):
    """Of a drill whose undisturbed run wrote one table: the promises that a command broke."""
    drill = kills.Drill("run", 1, tmp_path, small_ratings_csv, random.Random(0))
    drill.wanted, drill.trials = {"table.md": b"x"}, {}
    folder = tmp_path / "killed"
    stage = folder / "runs" / "stages" / "a-1"
    stage.mkdir(parents=True)
    (stage / "stage.json").write_text(json.dumps({"files": {"m.safetensors": 1}}))
    (stage / "m.safetensors").write_text("x")
    (folder / drill.place).mkdir()

    def faults(code, hit="SIGTERM to the parent", before=None, said="", orphans=()):
        family = SimpleNamespace(orphans=lambda: list(orphans), said=lambda: said)
        there = kills.stages(folder / "runs") if before is None else before
        return list(drill.faults(family, folder, there, hit, code))

    return SimpleNamespace(faults=faults, stage=stage, table=folder / drill.place / "table.md")


def test_what_is_promised_is_no_fault(ended):
    assert ended.faults(143) == []
    assert ended.faults(130, "SIGINT to the group") == []
    assert ended.faults(-9, "SIGKILL to the parent") == []
    ended.table.write_text("x")
    assert ended.faults(0) == []


def test_each_broken_promise_is_seen(ended):
    table = "exit code 0, and the tables are not those of an undisturbed run"
    assert ended.faults(0) == [table]
    ended.table.write_text("y")
    assert ended.faults(0, None) == [table]
    assert ended.faults(1, said="oops") == ["exit code 1: ['oops']"]
    assert ended.faults(143, "SIGINT to the parent", said="x") == ["exit code 143: ['x']"]
    traceback = "Traceback\nrecsys_posttrain\nValueError"
    assert ended.faults(143, said=traceback) == ["a traceback: ValueError"]
    assert ended.faults(143, orphans=[7]) == ["1 processes stayed"]
    assert ended.faults(143, before={"b-2": 1}) == ["lost or made twice: ['b-2']"]
    assert ended.faults(143, before={"a-1": 1}) == ["lost or made twice: ['a-1']"]
    (ended.stage / ".7-m.safetensors").write_text("")
    assert ended.faults(143) == ["left in finished stages: ['a-1/.7-m.safetensors']"]


SITE = """Fatal Python error: init_import_site: Failed to import the site module
Traceback (most recent call last):
  File "<frozen site>", line 626, in <module>
  File "/venv/lib/__editable___recsys_posttrain_0_1_0_finder.py", line 5, in <module>
KeyboardInterrupt
"""
FIRST = """Traceback (most recent call last):
  File "<frozen runpy>", line 148, in _get_module_details
  File "PACKAGE/__init__.py", line 17, in <module>
    import os
KeyboardInterrupt
"""
LATER = """Traceback (most recent call last):
  File "PACKAGE/__main__.py", line 27, in <module>
    sys.exit(main())
  File "PACKAGE/__main__.py", line 20, in main
    return exit_code(command)
KeyboardInterrupt
"""


def test_ctrl_c_while_python_starts_is_no_fault_and_nothing_else_is_let_pass(ended):
    import recsys_posttrain

    package = str(Path(recsys_posttrain.__file__).parent)
    first, later = (text.replace("PACKAGE", package) for text in (FIRST, LATER))
    to_all = "SIGINT to the group"
    assert ended.faults(1, to_all, said=SITE) == []
    assert ended.faults(-2, to_all, said=first) == []
    assert ended.faults(130, to_all, said=first) == []
    traceback = "a traceback: KeyboardInterrupt"
    assert ended.faults(1, to_all, said=first) == ["exit code 1: ['KeyboardInterrupt']"]
    assert ended.faults(0, to_all, said=SITE)[-1] == "exit code 0: ['KeyboardInterrupt']"
    assert ended.faults(130, to_all, said=later) == [traceback]
    assert ended.faults(1, to_all, said=later) == [traceback, "exit code 1: ['KeyboardInterrupt']"]
    assert ended.faults(130, to_all, said=first + first) == [traceback]
    other = first.replace("KeyboardInterrupt", "ImportError: numpy")
    assert ended.faults(130, to_all, said=other) == ["a traceback: ImportError: numpy"]
    assert ended.faults(143, "SIGTERM to the parent", said=first) == [traceback]
    assert ended.faults(2, "SIGKILL to the worker", said=first) == [traceback]
    assert ended.faults(0, None, said=first)[-1] == traceback
