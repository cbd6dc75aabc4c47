"""The mirror after kills, in odd places, twice, after a change, and without a network."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from study_factory import isolate_wandb

from recsys_posttrain.tracking import mirror as tracking
from recsys_posttrain.tracking import offline_runs, upload
from recsys_posttrain.tracking.mirror import mirror, track, wandb_folder

ENVIRONMENT = {"WANDB_API_KEY": "0123456789" * 4, "WANDB_BASE_URL": "http://127.0.0.1:9"}


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    isolate_wandb(monkeypatch, tmp_path)


@pytest.fixture
def running(finished_study):
    """A study that has three trials and no table yet, so that its mirror is three runs."""
    (finished_study / "table.csv").unlink()
    return finished_study


def runs(study):
    return sorted(wandb_folder(study).glob("offline-run-*"))


def is_whole(run):
    """As W&B's own file says: a run that was never finished holds its header alone."""
    (file,) = run.glob("*.wandb")
    return file.stat().st_size > 7


KILLED = """
import os, signal, sys
from pathlib import Path
import wandb
from recsys_posttrain.tracking.mirror import mirror
original = wandb.init
def init(**settings):
    run = original(**settings)
    os.kill(os.getpid(), signal.SIGKILL)
wandb.init = init
mirror(Path(sys.argv[1]))
"""


def test_a_run_that_was_killed_is_not_uploaded_and_is_written_again(running):
    # With a service of its own, as after a kill: not that of the tests, which knows the run still.
    own = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    done = subprocess.run([sys.executable, "-c", KILLED, str(running)], env=own)
    assert done.returncode == -signal.SIGKILL
    (killed,) = runs(running)
    identifiers = {killed.name.rpartition("-")[2]}
    assert offline_runs.to_upload(wandb_folder(running), identifiers) == []
    count, _, identifiers = mirror(running)
    assert count == 3
    assert len(runs(running)) == 3
    assert all(map(is_whole, runs(running)))
    assert offline_runs.to_upload(wandb_folder(running), identifiers) == runs(running)


def test_twice_is_once(running):
    assert mirror(running)[0] == 3
    before = [(run, run.stat().st_mtime_ns) for run in runs(running)]
    assert mirror(running)[0] == 0
    assert [(run, run.stat().st_mtime_ns) for run in runs(running)] == before


def test_two_identical_studies_in_one_folder_of_wandb_are_one(running, tmp_path, monkeypatch):
    twin = shutil.copytree(running, tmp_path / "other" / running.name)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "shared"))
    assert [mirror(each)[0] for each in (running, twin, running)] == [3, 0, 0]
    assert len(runs(running)) == 3


def test_two_processes_at_once_write_each_run_once(running):
    code = "import sys; from recsys_posttrain.tracking.mirror import *; mirror(Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(running)]
    for process in [subprocess.Popen(command, env=os.environ) for _ in range(2)]:
        assert process.wait() == 0
    assert len(runs(running)) == 3


def test_a_changed_trial_replaces_its_run_and_one_that_is_gone_goes(finished_study):
    mirror(finished_study)
    trials = pd.read_csv(finished_study / "trials.csv")
    there = len(runs(finished_study))
    changed = trials.index[trials["state"] == "complete"][0]
    trials.loc[changed, "value"] += 0.01
    trials.drop(index=trials.index[-1]).to_csv(finished_study / "trials.csv", index=False)
    written, _, identifiers = mirror(finished_study)
    assert written == 2  # the trial, and the study, which counts its trials
    assert len(runs(finished_study)) == there - 1 == len(identifiers)


def test_what_is_uploaded_stays_so_until_it_changes(running):
    identifiers = mirror(running).identifiers
    first, *others = runs(running)
    (file,) = first.glob("*.wandb")
    Path(f"{file}.synced").touch()
    assert offline_runs.to_upload(wandb_folder(running), identifiers) == others


def test_runs_of_others_are_left_alone(running):
    own = wandb_folder(running) / "offline-run-20260101_000000-mine"
    own.mkdir(parents=True)
    (own / "run-mine.wandb").write_bytes(b"of the user")
    identifiers = mirror(running).identifiers
    assert own not in offline_runs.to_upload(wandb_folder(running), identifiers)
    assert own.exists()


def test_a_folder_that_cannot_be_written_is_said_and_nothing_is_claimed(running, monkeypatch):
    """As root no folder is read-only; a file in its place is."""
    (running / "wandb").write_text("")
    line = track(running)
    assert line.startswith(f"warning: W&B: OSError: nothing can be written to {running / 'wandb'} ")
    assert "give a folder with WANDB_DIR; results are intact" in line
    assert "new runs" not in line


def test_a_run_that_wandb_put_elsewhere_is_not_claimed(running, monkeypatch, tmp_path):
    """Its own answer to a folder that it may not write."""
    monkeypatch.setattr(tracking, "_write", lambda *arguments: None)
    assert "W&B wrote a run elsewhere than to" in track(running)


def test_a_fake_key_without_a_network_ends_in_time(running, monkeypatch):
    """Port 9 of this machine refuses; W&B's client would try for minutes."""
    monkeypatch.setenv("WANDB_API_KEY", ENVIRONMENT["WANDB_API_KEY"])
    began = time.monotonic()
    line = track(running)
    assert time.monotonic() - began < 15
    assert "warning: 3 runs not uploaded (http://127.0.0.1:9: [Errno 111] Connection ref" in line
    assert f"recsys-posttrain wandb-sync {running}" in line
    assert len(runs(running)) == 3


def test_a_service_that_never_answers_ends_in_time(running, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", ENVIRONMENT["WANDB_API_KEY"])
    monkeypatch.setattr(upload, "SECONDS_TO_ANSWER", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", url)
        assert "3 runs not uploaded" in track(running)


def test_the_mark_names_what_it_was_made_of(running):
    mirror(running)
    for run in runs(running):
        mark = json.loads((run / "recsys-posttrain.json").read_text())
        assert run.name.endswith(mark["id"])
        assert mark["study"] == str(running)
