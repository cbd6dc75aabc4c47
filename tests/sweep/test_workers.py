"""Worker processes of a sweep: how each end of one is taken, and that none outlives the command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep import workers
from recsys_posttrain.sweep.slots import WORKER
from recsys_posttrain.sweep.work import worker_name
from recsys_posttrain.sweep.workers import run_workers


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run(code): two workers of this code. `run.dead`: pids of those whose trials were queued
    again."""
    monkeypatch.setattr(workers, "SECONDS_BETWEEN_LOOKS", 0.05)

    def requeue(is_dead):
        found = [pid for pid in pids() if is_dead(_trial(pid))]
        start.dead += found

    def pids():
        return [int(path.name) for path in (tmp_path / "pids").iterdir()]

    (tmp_path / "pids").mkdir()
    ledger = SimpleNamespace(queues=lambda: [SimpleNamespace(requeue=requeue)])

    def start(code, count=2, look=lambda: None):
        head = (
            "import os, signal, sys, time; from pathlib import Path\n"
            f"place = Path({str(tmp_path / 'pids')!r})\n"
            "(place / str(os.getpid())).touch()\n"
            f"while len(list(place.iterdir())) < {count}: time.sleep(0.01)\n"
            "is_first = os.getpid() == min(int(path.name) for path in place.iterdir())\n"
        )
        command = [sys.executable, "-c", head + code]
        run_workers(count, command, {"GIVEN": "to it"}, tmp_path, ledger, look)

    start.dead, start.pids = [], pids
    return start


def _trial(pid):
    return SimpleNamespace(user_attrs={WORKER: worker_name(pid)})


def test_all_end_well(run, tmp_path):
    looks = []
    run("print(os.environ['GIVEN'], os.environ['OMP_NUM_THREADS'])", look=lambda: looks.append(1))
    assert [path.read_text() for path in tmp_path.glob("worker-*.log")] == ["to it 1\n"] * 2
    assert looks
    assert run.dead == []


def test_a_users_mistake_in_one_is_the_sentence_here_and_ends_the_others(run):
    with pytest.raises(UserError, match=r"^the disk is full$"):
        run(
            "print('x'); print('error: the disk is full')\n"
            "if is_first: sys.exit(2)\n"
            "time.sleep(300)"
        )
    assert set(run.dead) == set(run.pids())
    assert not [pid for pid in run.pids() if Path(f"/proc/{pid}").exists()]


def test_a_mistake_of_ours_in_one_is_one_here_and_names_the_log(run):
    with pytest.raises(RuntimeError, match=r"a worker failed; see .*worker-\d.log: Zero"):
        run("print('ZeroDivisionError')\nif is_first: sys.exit(1)\ntime.sleep(300)")


@pytest.mark.parametrize("end", ["os._exit(143)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_one_that_is_killed_leaves_its_trial_to_the_others(run, end):
    run(f"if is_first: {end}\ntime.sleep(1)")
    assert run.dead == [min(run.pids())]


@pytest.mark.parametrize(("end", "code"), [("os._exit(143)", 143), ("os.kill(os.getpid(), 9)", -9)])
def test_without_any_left_the_sweep_is_not_done(run, end, code):
    said = rf"the last worker was killed \(exit code {code}\) before the sweep was done: run the"
    with pytest.raises(UserError, match=said):
        run(end)
    assert set(run.dead) == set(run.pids())


def test_they_never_see_ctrl_c_and_the_command_still_does(run):
    """A terminal sends it to all at once; one that has just begun would say a traceback."""
    run("signal.signal(signal.SIGINT, signal.SIG_DFL)\nos.kill(os.getpid(), signal.SIGINT)")
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_they_end_with_the_command_whatever_ends_it(tmp_path):
    worker = (
        "import os, sys, time; from recsys_posttrain.sweep.workers import end_with_parent\n"
        "end_with_parent()\n"
        "open(f'began-{os.getpid()}', 'w').close()\n"
        "time.sleep(600)"
    )
    command = (
        "import sys; from pathlib import Path; from types import SimpleNamespace\n"
        "from recsys_posttrain.sweep.workers import run_workers\n"
        "ledger = SimpleNamespace(queues=lambda: [])\n"
        "worker = [sys.executable, '-c', sys.argv[1]]\n"
        "run_workers(2, worker, {}, Path(), ledger, lambda: None)"
    )
    parent = subprocess.Popen([sys.executable, "-c", command, worker], cwd=tmp_path)
    try:
        _wait(lambda: len(list(tmp_path.glob("began-*"))) == 2)
    finally:
        parent.kill()
        parent.wait()
    pids = [int(path.name.removeprefix("began-")) for path in tmp_path.glob("began-*")]
    try:
        _wait(lambda: not any(map(_is_running, pids)))
    finally:
        for pid in filter(_is_running, pids):
            os.kill(pid, signal.SIGKILL)


def _wait(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
