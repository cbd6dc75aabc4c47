"""Each tutorial runs from its first line to its last, on fewer people, and says what it should."""

import ast
import os
import re
import subprocess
import sys

import pytest
from doc_pages import ROOT, text_of

FOLDER = ROOT / "docs" / "tutorials"
PEOPLE = "40"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    here = tmp_path / "here"
    here.mkdir()

    def run(name):
        words = [sys.executable, str(FOLDER / f"{name}.py"), PEOPLE]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(words, cwd=here, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout, here

    return run


def test_own_data(run):
    printed, here = run("own_data")
    rows = re.findall(r"^\| (\w+) \|", printed, re.MULTILINE)
    assert {"Pretrained", "Tilt", "BC", "ASFT"} <= {*rows}
    lists = re.findall(r"^\d +(u[01]) +(film-\d+) +\S+ +(\d)$", printed, re.MULTILINE)
    assert len(lists) == 12
    assert lists[:6] == lists[6:], "what was saved recommends the same"
    assert {path.name for path in here.iterdir()} == {"watched.csv", "my_policy"}


def test_new_algorithm(run):
    printed, _ = run("new_algorithm")
    worth = dict(
        re.findall(r"^(\S.*?) +true stars of lists of five: (\S+)$", printed, re.MULTILINE)
    )
    assert [*worth] == ["Pretrained", "Tilt", "BC", "ASFT", "SigmoidBC", "SigmoidBC, shuffled"]
    assert all(1 < float(stars) < 5 for stars in worth.values())
    assert worth["SigmoidBC"] != worth["BC"]


def test_noise(run):
    """The policy that nothing changes has one value; what asks the model has others as it errs."""
    printed, _ = run("noise_and_quality")
    head, *rows = [re.split(r"  +", line.strip()) for line in printed.strip().splitlines()[-6:]]
    assert head == ["Pretrained", "Tilt", "ASFT", "ASFT(model)", "OfflinePPO"]
    rows = [[float(cell) for cell in row] for row in rows[1:]]
    assert [row[0] for row in rows] == [0.0, 0.5, 1.0, 2.0]
    assert len({row[1] for row in rows}) == 1
    assert rows[0][2] > rows[3][2], "the tilt loses with the error"
    assert rows[0][2] > rows[0][1], "and gains without"


def test_deliver(run):
    pytest.importorskip("websockets")
    printed, _ = run("deliver")
    before, live = (
        re.search(rf"^{stage} +(film.*?)(?:  |$)", printed, re.MULTILINE)[1].split()
        for stage in ("before", "live")
    )
    assert len(before) == len(live) == 5
    assert "film-7" not in before
    assert live == ["film-7", *before[:4]]


def test_each_opens_with_its_title_its_command_and_its_length():
    """As docs/generate.py makes a page of it."""
    scripts = [path for path in FOLDER.glob("*.py") if path.name != "made_log.py"]
    assert len(scripts) == 4
    for script in scripts:
        title, command, about = ast.get_docstring(ast.parse(text_of(script))).split("\n\n", 2)
        assert title.endswith((".", "?"))
        assert command == f"    python docs/tutorials/{script.name}"
        assert "minute" in about
