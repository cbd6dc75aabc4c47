"""Work in several processes: results, mistakes, and how processes end. Tasks are expressions,
because a worker cannot import this file."""

import os
import signal
import subprocess
import sys
import time

import pytest
from other_processes import is_alive

from recsys_posttrain.errors import TrainingFailed, UserError
from recsys_posttrain.studies import parallel
from recsys_posttrain.studies.parallel import answered, cores

PID = "__import__('os').getpid()"
KILL = "__import__('os').kill(__import__('os').getpid(), 9)"
SLOWLY = "__import__('time').sleep({}) or " + PID


@pytest.fixture
def log(tmp_path):
    return tmp_path / "folder" / "workers.log"


def evaluated(expressions, log, processes=2):
    return list(answered(eval, expressions, processes, log))


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_each_task_once_in_other_processes_of_one_thread_each(log, capfd, monkeypatch):
    monkeypatch.setenv("SET_AFTER_THE_START", "seen")
    threads, said = "__import__('torch').get_num_threads()", "print('in the log', flush=True)"
    variable = "__import__('os').environ['SET_AFTER_THE_START']"
    blocked = "(s := __import__('signal')).pthread_sigmask(s.SIG_BLOCK, [])"
    tasks = [SLOWLY.format(0.2), threads, "2 + 3", said, variable, blocked]
    results = dict(evaluated(tasks, log))
    assert results.keys() == set(tasks)
    assert results["2 + 3"] == 5
    assert results[threads] == 1
    assert results[variable] == "seen"
    assert results[blocked] == {signal.SIGINT}, "Ctrl-C is for this process alone"
    assert results[tasks[0]] != os.getpid()
    assert log.read_text() == "in the log\n"
    assert capfd.readouterr() == ("", "")


def test_two_work_at_a_time_and_none_is_left(log):
    """Each waits for a file that the other makes."""
    log.parent.mkdir()
    first, second = log.parent / "first", log.parent / "second"
    meet = (
        "[open({!r}, 'w').close(), [None for _ in iter(lambda: __import__('os').path.exists({!r}),"
        f" True)], {PID}][-1]"
    )
    tasks = [meet.format(str(first), str(second)), meet.format(str(second), str(first))]
    pids = {pid for _, pid in evaluated(tasks, log)}
    assert len(pids) == 2
    wait_until(lambda: not any(map(is_alive, pids)))


def test_one_process_is_this_one(log):
    assert dict(evaluated([PID], log, processes=1)) == {PID: os.getpid()}
    assert not log.exists()


def test_a_users_mistake_in_a_worker_is_the_same_sentence_here(log):
    raised = (
        "(_ for _ in ()).throw(__import__('recsys_posttrain.errors').errors.TrainingFailed({!r}))"
    )
    sentence = "the loss became nan at step 3; lower the rate"
    with pytest.raises(TrainingFailed, match=rf"^{sentence}$"):
        evaluated([raised.format(sentence), SLOWLY.format(100)], log)


def test_a_killed_worker_is_one_sentence_and_the_others_end(log, tmp_path):
    """The first result is there before another worker is killed."""
    wait = f"open({str(tmp_path / 'pid')!r}, 'w').write(str({PID})) and {SLOWLY.format(100)}"
    pairs = answered(eval, ["1 + 1", f"{SLOWLY.format(0.5)} and {KILL}", wait], 2, log)
    assert next(pairs) == ("1 + 1", 2)
    with pytest.raises(UserError, match=r"was killed .* is kept: run .* with fewer --workers\.$"):
        list(pairs)
    pid = tmp_path / "pid"
    assert not pid.exists() or not is_alive(int(pid.read_text()))


def test_the_task_of_a_killed_worker_is_given_to_the_others(log, tmp_path, capsys):
    """Also the tasks of those that were not killed, and those that none had begun."""
    path = tmp_path / "was-killed"
    kill_once = (
        f"(lambda path: path.exists() or (path.touch(), {KILL}))"
        f"(__import__('pathlib').Path({str(path)!r}))"
    )
    tasks = [SLOWLY.format(1), kill_once, "2 + 3", "3 + 4"]
    results = dict(evaluated(tasks, log))
    assert results.keys() == set(tasks)
    assert (results[kill_once], results["2 + 3"], results["3 + 4"]) == (True, 5, 7)
    assert capsys.readouterr().out.startswith("a worker process was killed")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_task_is_asked_for_when_a_process_is_free(log, processes, monkeypatch):
    """Tasks may follow from results; None says that there is none for now."""
    monkeypatch.setattr(parallel, "SECONDS_BETWEEN_LOOKS", 0.01)
    known = []

    def tasks():
        yield "1"
        while not known:
            yield None
        yield f"{known[0]} + 1"

    for _, result in answered(eval, tasks(), processes, log):
        known.append(result)
    assert known == [1, 2]


def test_who_stops_asking_ends_the_workers(log):
    pairs = answered(eval, [PID, SLOWLY.format(100)], 2, log)
    _, pid = next(pairs)
    assert is_alive(pid)
    began = time.monotonic()
    pairs.close()
    assert time.monotonic() - began < 10, "nobody waits for the sleeper"
    assert not is_alive(pid)


# A study whose workers say who they are and then sleep; the imports of a real one would take long.
STUDY = """
import sys
from pathlib import Path
from recsys_posttrain import cli
from recsys_posttrain.studies import parallel as processes
from recsys_posttrain.__main__ import main

processes.PRELOADED = ["recsys_posttrain.studies.parallel"]
folder = Path(sys.argv[1])
write = "open({!r}, 'w').write(str(__import__('os').getpid())) and __import__('time').sleep(100)"
tasks = [write.format(str(folder / name)) for name in ("pid-1", "pid-2", "pid-3")]
cli.app = lambda **_: list(processes.answered(eval, tasks, 2, folder / "log"))
sys.exit(main())
"""


@pytest.fixture
def sleeping(tmp_path):
    """The main process, in a group of its own like a command in a terminal, and its workers."""
    process = subprocess.Popen(
        [sys.executable, "-c", STUDY, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell starts what it runs in the background with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    pids = [tmp_path / "pid-1", tmp_path / "pid-2"]
    try:
        wait_until(lambda: all(path.exists() and path.read_text() for path in pids))
        yield process, [int(path.read_text()) for path in pids]
    finally:
        process.kill()
        process.communicate()


def test_kill_9_of_the_main_process_ends_its_workers(sleeping):
    process, workers = sleeping
    assert all(map(is_alive, workers))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_until(lambda: not any(map(is_alive, workers)), seconds=10)


def test_ctrl_c_ends_all_at_once_with_one_line(sleeping):
    process, workers = sleeping
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    printed, _ = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode == 130
    assert printed == (
        "interrupted: run the same command again to resume; finished stages are reused\n"
    )
    assert not any(map(is_alive, workers))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux only")
def test_cores_are_those_that_this_process_may_use():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)
