"""A PostgreSQL server for two workers; one that goes away, and one that asks for a password."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from optuna.trial import TrialState
from other_processes import children, words

from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep.queue import SLOT, Outcome, Queue
from recsys_posttrain.sweep.run import run_sweep
from recsys_posttrain.sweep.storage import open_storage, storage_is_explained

SMALL_SWEEP = Path(__file__).resolve().parents[1] / "small_sweep.py"


@pytest.fixture(scope="module")
def restarting(start_postgresql):
    """A server of its own for what finds only its own trials there."""
    return start_postgresql()


def trials_in(server):
    """The name of its study, and each trial."""
    storage = open_storage(server.url)
    found = [
        (study.study_name, trial)
        for study in storage.get_all_studies()
        for trial in storage.get_all_trials(study._study_id)
    ]
    storage.engine.dispose()
    return found


def slots_of(folder):
    """Three trials in each of four cells, and two seeds of each setting that beat doing nothing."""
    chosen = json.loads((folder / "run.json").read_text())["sweep"]["chosen"].values()
    assert len(chosen) == 4
    tuned = sum(setting is not None for setting in chosen)
    assert tuned
    return 4 * 3 + 2 * tuned


def test_a_trial_is_claimed_by_one_of_two_connections(postgresql):
    """Both put the same slots there, as machines that begin at the same moment do."""
    queues = [Queue("race", tuple(range(6)), open_storage(postgresql.url), None) for _ in range(2)]
    for queue in queues:
        queue.study  # noqa: B018
    first, second = (queue.claim() for queue in queues)
    assert {first[0].user_attrs[SLOT], second[0].user_attrs[SLOT]} == {0, 1}
    queues[0].finish(first[0], Outcome(0.1, 0.5))
    assert queues[1].outcomes()[0].value == 0.5
    for queue in queues:
        queue.storage.engine.dispose()


@pytest.mark.timeout(900)  # three processes, and a machine may be busy
def test_two_workers_do_each_trial_once(postgresql, options):
    asked = options._replace(storage=postgresql.url, workers=2, output=Path("pg"))
    folder = run_sweep(SMALL_SWEEP, asked)
    trials = pd.read_csv(folder / "trials.csv")
    assert trials["trial"].tolist() == 4 * [0, 1, 2]
    assert set(trials["state"]) == {"complete"}
    # Six rows of every study, and those of the four searches.
    assert len(pd.read_csv(folder / "table.csv")["method"].unique()) == 6 + 4
    assert not (folder / "study.db").exists()
    done = Counter()
    for name, trial in trials_in(postgresql):
        # WAITING is of both, where both put it there.
        if name.startswith("small_sweep-small/") and trial.state != TrialState.WAITING:
            assert trial.state == TrialState.COMPLETE
            done[name, trial.user_attrs[SLOT]] += 1
    assert list(done.values()) == slots_of(folder) * [1]


@pytest.mark.timeout(900)  # three processes, and a machine may be busy
def test_a_restart_in_the_middle_loses_nothing(restarting, options, finished):
    """Twice while two workers share a sweep: every slot has one outcome, and the table is that of
    the undisturbed one."""
    restarts = []

    def restart_twice():
        for count in (2, 8):
            while (
                sum(each.state == TrialState.COMPLETE for _, each in trials_in(restarting)) < count
            ):
                time.sleep(0.2)
            restarting.stop()
            time.sleep(1)
            restarting.start()
            restarts.append(count)

    thread = threading.Thread(target=restart_twice, daemon=True)
    thread.start()
    asked = options._replace(storage=restarting.url, workers=2, output=Path("restarted"))
    folder = run_sweep(SMALL_SWEEP, asked)
    thread.join(60)
    assert restarts == [2, 8]
    for name in ("table.csv", "rows.parquet"):
        assert (folder / name).read_bytes() == (finished / folder.name / name).read_bytes()
    assert pd.read_csv(folder / "trials.csv")["trial"].tolist() == 4 * [0, 1, 2]
    done = Counter(
        (name, trial.user_attrs[SLOT])
        for name, trial in trials_in(restarting)
        if trial.state == TrialState.COMPLETE
    )
    assert list(done.values()) == slots_of(folder) * [1]


def test_each_operation_outlives_a_restart(restarting):
    """Of a claim and its outcome; what is asked twice is done once."""
    queue = Queue("outlives", (0,), open_storage(restarting.url), None)

    def restarted():
        restarting.stop()
        restarting.start()

    restarted()
    assert queue.study.study_name == "outlives"
    restarted()
    trial, _ = queue.claim()
    restarted()
    for _ in range(2):  # as if the first answer had been lost
        queue.running[trial._trial_id] = trial
        queue.finish(trial, Outcome(0.1, 0.5))
    restarted()
    assert {slot: done.value for slot, done in queue.outcomes().items()} == {0: 0.5}
    queue.storage.engine.dispose()


def test_a_server_that_stays_away_is_one_sentence_after_the_time_of_grace(
    start_postgresql, options, monkeypatch
):
    server = start_postgresql()
    storage = open_storage(server.url)
    storage.grace = 0.5
    server.stop()
    began = time.monotonic()
    refused = pytest.raises(UserError, match=r"refused.*; start the server or correct --storage")
    with refused, storage_is_explained(server.url):
        storage.get_all_studies()
    assert 0.2 < time.monotonic() - began < 10
    storage.engine.dispose()
    server.start()


@pytest.fixture(scope="module")
def guarded(start_postgresql):
    return start_postgresql(authentication="scram-sha-256", password="s3cret")


def test_a_password_is_taken_from_where_libpq_looks(guarded, monkeypatch, tmp_path):
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    open_storage(guarded.url).engine.dispose()
    monkeypatch.delenv("PGPASSWORD")
    (tmp_path / "pgpass").write_text(f"127.0.0.1:{guarded.port}:*:me:s3cret\n")
    (tmp_path / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    open_storage(guarded.url).engine.dispose()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda url: url.replace("me@", "me:Wr0ng-One@"), "password authentication failed"),
        (lambda url: url + "?password=Wr0ng-One", "password authentication failed"),
        (lambda url: url, "no password supplied"),
        (lambda url: url.replace("me@", "me:s3cret@") + "x", '"postgresx" does not exist'),
        (lambda url: url.replace("127.0.0.1", "no-such-host.invalid"), "resolve|not known|Name"),
    ],
)
def test_what_a_server_refuses_is_one_sentence_without_the_password(guarded, change, sentence):
    with pytest.raises(UserError, match=sentence) as refusal:
        open_storage(change(guarded.url))
    text = str(refusal.value)
    assert "\n" not in text
    assert "Wr0ng-One" not in text
    assert "s3cret" not in text


@pytest.mark.timeout(900)  # three processes, and a machine may be busy
@pytest.mark.parametrize("form", ["user", "query"])
def test_no_worker_and_no_file_shows_the_password(guarded, small_ratings_csv, tmp_path, form):
    """Of the command itself the arguments are the user's; it says so."""
    url = guarded.url.replace("/postgres", f"/as_{form}")
    create = ["psql", "-h", "127.0.0.1", "-p", str(guarded.port), "-U", "me", "-d", "postgres"]
    asked = os.environ | {"PGPASSWORD": "s3cret"}
    subprocess.run([*create, "-c", f"CREATE DATABASE as_{form}"], env=asked, check=True)
    url = url + "?password=s3cret" if form == "query" else url.replace("me@", "me:s3cret@")
    command = [sys.executable, "-m", "recsys_posttrain", "sweep", str(SMALL_SWEEP)]
    command += ["--dataset", str(small_ratings_csv), "--trials", "1", "--seeds", "1"]
    command += ["--workers", "2", "--storage", url]
    one = os.environ | {"OMP_NUM_THREADS": "1", "RECSYS_POSTTRAIN_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=one, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    shown = set()
    while process.poll() is None:
        shown.update(map(words, children(process.pid)))
        time.sleep(0.05)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert any("forkserver" in each for each in shown), "its workers were seen"
    # Between its fork and its exec a child has the arguments of the command.
    shown.discard("\0".join([*command, ""]))
    assert not any("s3cret" in each for each in shown)
    assert "s3cret" not in said
    assert "every user of this machine can read a password" in said
    assert "PGPASSWORD" in said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"s3cret" in path.read_bytes()]
