"""A command whose folder holds the results of something else ends before any work."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from recsys_posttrain.__main__ import main

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(("verb", "file"), [("run", "small_study.py"), ("sweep", "small_sweep.py")])
def test_the_results_of_another_log_of_that_name_stay(
    verb, file, tmp_path, small_ratings_csv, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    for name in {file, "small_study.py"}:  # the sweep imports from the study
        shutil.copy(TESTS / name, name)
    theirs = Path("runs") / f"{Path(file).stem}-{small_ratings_csv.stem}"
    theirs.mkdir(parents=True)
    there = {
        "file": str(tmp_path / file),
        "SHA-256 of the file": "0123",
        "dataset": "/elsewhere/small.csv",
        "SHA-256 of the data": "4567",
    }
    (theirs / "definition.json").write_text(json.dumps(there))
    (theirs / "table.md").write_text("theirs")
    command = [verb, file, "--dataset", str(small_ratings_csv), "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["recsys-posttrain", *command])
    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {theirs} holds the results of something else of the same name")
    assert f"dataset /elsewhere/small.csv there and {small_ratings_csv} here" in said
    assert sorted(path.name for path in theirs.iterdir()) == ["definition.json", "table.md"]
    assert json.loads((theirs / "definition.json").read_text()) == there
    assert not (tmp_path / "runs" / "stages").exists()
