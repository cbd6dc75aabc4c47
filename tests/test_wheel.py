"""The wheel, built in a folder of its own without a network: it has the studies, and runs them."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("recsys_posttrain", "experiments", "setup.cfg", "setup.py", "pyproject.toml", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds what the wheel holds, as pip would unpack it."""
    tree, wheels = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheels")
    for name in SOURCES:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, tree)
        else:
            ignored = shutil.ignore_patterns("__pycache__", "results")
            shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    options = [
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-q",
        "--disable-pip-version-check",
    ]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", str(wheels), str(tree)]
    subprocess.run(command, check=True, cwd=tree)
    (wheel,) = wheels.iterdir()
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def _command(installed, cwd, *words):
    own = {"PYTHONPATH": str(installed), "RECSYS_POSTTRAIN_CACHE": str(cwd / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "recsys_posttrain", *words],
        cwd=cwd, env=os.environ | own, capture_output=True, text=True,
    )  # fmt: skip


def test_it_holds_every_study_as_it_is_in_the_checkout(installed):
    found = {
        path.relative_to(installed / "recsys_posttrain"): path.read_bytes()
        for path in (installed / "recsys_posttrain" / "experiments").rglob("*.py")
    }
    assert found == {
        path.relative_to(ROOT): path.read_bytes() for path in (ROOT / "experiments").rglob("*.py")
    }
    assert sorted(path.name for path in installed.iterdir() if path.suffix != ".dist-info") == [
        "recsys_posttrain"
    ]
    for name in ("report/page.html", "report/page.css", "report/page.js", "algorithms/PAPERS.md"):
        path = Path("recsys_posttrain", name)
        assert (installed / path).read_bytes() == (ROOT / path).read_bytes()


def test_it_runs_a_study_by_name_and_recommends_by_name(installed, small_ratings_csv, tmp_path):
    """Far from the checkout: run, page and recommend name no folder but the study's."""
    short = ["pretraining.epochs=1", "posttraining.steps=2"]
    sets = [word for assignment in short for word in ("--set", assignment)]
    data = ["--dataset", str(small_ratings_csv), "--methods", "ASFT", "--seeds", "1"]
    done = _command(installed, tmp_path, "run", "movielens_main", *data, "--workers", "1", *sets)
    assert done.returncode == 0, done.stderr
    assert "command: recsys-posttrain run movielens_main --dataset" in " ".join(done.stdout.split())
    (study,) = (path.parent.name for path in (tmp_path / "runs").glob("*/run.json"))
    assert study.startswith("movielens_main-small-")
    assert (tmp_path / "runs" / study / "report.html").is_file()
    users = ["--users", "3", "--k", "2"]
    done = _command(installed, tmp_path, "recommend", study, "--method", "ASFT", *users)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3  # the titles, and two items
