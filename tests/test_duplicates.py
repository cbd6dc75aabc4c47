"""--duplicates reaches the file from every command that reads one."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_posttrain.data import RatingsFile
from recsys_posttrain.data.table_file import FileRules
from recsys_posttrain.errors import UserError
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.sweep.load import Options

STUDY, SWEEP = (Path(__file__).parent / f"small_{kind}.py" for kind in ("study", "sweep"))


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "mine.csv"
    events = [f"{user},{item},{3 if item else 4},{item}" for user in range(6) for item in range(6)]
    path.write_text("\n".join(["user_id,item_id,rating,timestamp", *events, "0,0,5,0"]) + "\n")
    return path


def command(tmp_path, *words):
    environment = os.environ | {"RECSYS_POSTTRAIN_CACHE": str(tmp_path / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "recsys_posttrain", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
    )


def test_data_commands(log, tmp_path):
    refused = command(tmp_path, "data", "audit", log)
    assert refused.returncode == 2
    assert "row 37 repeats an earlier event" in refused.stderr
    assert "--duplicates first or last" in refused.stderr
    for rule, ratings in (("first", "30 of 3, 6 of 4"), ("last", "30 of 3, 5 of 4, 1 of 5")):
        done = command(tmp_path, "data", "audit", log, "--duplicates", rule)
        assert done.returncode == 0
        assert f"ratings: {ratings}\n" in done.stdout
        assert "1 duplicate events left out" in done.stderr
    assert "36 events" in command(tmp_path, "data", "fetch", log, "--duplicates", "last").stdout


def test_a_study_and_a_sweep_read_by_the_rule(log):
    study = load_study(STUDY, (), str(log), None, None, rules=FileRules(duplicates="last"))
    assert {run.setup.dataset for run in study.runs} == {RatingsFile(str(log), duplicates="last")}
    sweep = Options(str(log), rules=FileRules(duplicates="first")).sweep(SWEEP)
    assert sweep.base.setup.dataset == RatingsFile(str(log), duplicates="first")
    command = Options(dataset=str(log), rules=FileRules(duplicates="first")).command(SWEEP)
    words = [
        "recsys-posttrain",
        "sweep",
        str(SWEEP),
        "--dataset",
        str(log),
        "--duplicates",
        "first",
    ]
    assert shlex.split(command) == words


def test_a_named_dataset_has_no_rule():
    for dataset in ("ml-100k", None):  # None: the study's own, which is a named one too
        with pytest.raises(UserError, match=r"--duplicates last is for .* is ml-1.*; leave it"):
            load_study(STUDY, (), dataset, None, None, rules=FileRules(duplicates="last"))
