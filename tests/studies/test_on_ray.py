"""Work as tasks of Ray: results, mistakes, machines that differ, and how all of it ends. Tasks are
expressions, because a process of Ray cannot import this file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from two_machines import two_machines

from recsys_posttrain.errors import TrainingFailed, UserError
from recsys_posttrain.studies import on_ray
from recsys_posttrain.studies.on_ray import Ray

PID = "__import__('os').getpid()"
KILL = "__import__('os').kill(__import__('os').getpid(), 9)"
SLOWLY = "__import__('time').sleep({}) or " + PID


@pytest.fixture(scope="module")
def machines():
    with two_machines():
        yield


@pytest.fixture
def log(tmp_path):
    return tmp_path / "folder" / "workers.log"


def evaluated(expressions, log, workers=2):
    return list(Ray().answered(eval, expressions, workers, log))


@pytest.mark.usefixtures("machines")
def test_each_task_once_elsewhere_with_one_thread(log, capsys, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_MARK", "seen")
    secrets = ("A_SECRET", "RECSYS_POSTTRAIN_STORAGE")
    for name in secrets:
        monkeypatch.setenv(name, "of the command alone")
    monkeypatch.chdir(log.parents[1])
    threads, said = "__import__('torch').get_num_threads()", "print('in the log')"
    names = ("RECSYS_POSTTRAIN_MARK", *secrets)
    variables = f"[__import__('os').environ.get(n) for n in {names}]"
    folder = "__import__('os').getcwd()"
    tasks = [SLOWLY.format(0.2), threads, "2 + 3", said, variables, folder]
    results = dict(evaluated(tasks, log))
    assert results.keys() == set(tasks)
    assert (results["2 + 3"], results[threads]) == (5, 1)
    assert results[variables] == ["seen", None, None]
    assert results[folder] == str(log.parents[1])
    assert results[tasks[0]] != os.getpid()
    assert log.read_text() == "in the log\n"
    assert capsys.readouterr().out == "Ray: 2 machines, 2 CPUs\n"


@pytest.mark.usefixtures("machines")
def test_as_many_at_a_time_as_there_is_room_for_and_no_more_than_asked(log):
    """Each waits until it sees the other, or three seconds."""
    log.parent.mkdir()
    first, second = log.parent / "first", log.parent / "second"
    meet = (
        "[open({!r}, 'w').close(), any(__import__('time').sleep(.05) or"
        " __import__('os').path.exists({!r}) for _ in range(60))][1]"
    )
    tasks = [meet.format(str(first), str(second)), meet.format(str(second), str(first))]
    assert {met for _, met in evaluated(tasks, log, workers=sys.maxsize)} == {True}
    first.unlink()
    second.unlink()
    assert sorted(met for _, met in evaluated(tasks, log, workers=1)) == [False, True]


@pytest.mark.usefixtures("machines")
def test_a_task_is_asked_for_when_there_is_room(log, monkeypatch):
    """Tasks may follow from results; None says that there is none for now."""
    monkeypatch.setattr(on_ray, "SECONDS_BETWEEN_LOOKS", 0.01)
    known = []

    def tasks():
        yield "1"
        while not known:
            yield None
        yield f"{known[0]} + 1"

    for _, result in Ray().answered(eval, tasks(), 2, log):
        known.append(result)
    assert known == [1, 2]


@pytest.mark.usefixtures("machines")
def test_a_users_mistake_in_a_task_is_the_same_sentence_here(log):
    raised = (
        "(_ for _ in ()).throw(__import__('recsys_posttrain.errors').errors.TrainingFailed({!r}))"
    )
    sentence = "the loss became nan at step 3; lower the rate"
    with pytest.raises(TrainingFailed, match=rf"^{sentence}$"):
        evaluated([raised.format(sentence), SLOWLY.format(100)], log)


@pytest.mark.usefixtures("machines")
def test_the_task_of_a_killed_process_begins_again(log, tmp_path, capsys):
    path = tmp_path / "was-killed"
    kill_once = (
        f"(lambda path: path.exists() or (path.touch(), {KILL}))"
        f"(__import__('pathlib').Path({str(path)!r}))"
    )
    results = dict(evaluated([kill_once, "2 + 3", "3 + 4"], log))
    assert results == {kill_once: True, "2 + 3": 5, "3 + 4": 7}
    printed = capsys.readouterr().out
    assert printed.count("Ray lost a machine or a process (") == 1
    assert "its task begins again" in printed


@pytest.mark.usefixtures("machines")
def test_a_task_that_is_lost_each_time_is_one_sentence(log, tmp_path):
    count = f"open({str(tmp_path / 'tries')!r}, 'a').write('x')"
    with pytest.raises(UserError, match=r"of one task 3 times .* run the same command again\.$"):
        evaluated([f"({count}, {KILL})", SLOWLY.format(0.1)], log)
    assert (tmp_path / "tries").read_text() == "xxx"


@pytest.mark.usefixtures("machines")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"folder": Path("/no/such/folder")}, "has no folder /no/such/folder: all of them need"),
        ({"versions": {"torch": "1.0"}}, r"has torch 2\S+, and this command 1\.0: install the"),
        ({"code": "other"}, "has other code of recsys_posttrain than this command: install"),
    ],
)
def test_a_machine_that_differs_is_named_before_it_works(log, monkeypatch, change, sentence):
    monkeypatch.setattr(
        on_ray, "_this_command", lambda c=on_ray._this_command(): c._replace(**change)
    )
    with pytest.raises(UserError, match=rf"^\S+, a machine of Ray, {sentence}"):
        evaluated(["1"], log)
    assert not log.exists()


@pytest.mark.usefixtures("machines")
def test_without_a_gpu_there_is_no_task_that_waits_for_one_forever(log):
    with pytest.raises(UserError, match=r"^--device cuda: Ray has 0 GPUs, and a task takes 0\.5; "):
        list(Ray(gpus=0.5).answered(eval, ["1"], 2, log))


@pytest.mark.usefixtures("machines")
def test_another_address_is_refused_with_its_name(log, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(UserError, match=r"^RAY_ADDRESS=nonsense: "):
        evaluated(["1"], log)


def test_without_ray_the_extra_is_named_at_once(monkeypatch):
    monkeypatch.setattr(on_ray, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"install recsys-posttrain\[ray\]\.$"):
        Ray().workers(2, "cpu", usual=1)


@pytest.mark.parametrize("port", [1, 99999])
def test_an_address_where_nobody_answers_is_named_at_once(port, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(UserError, match=rf"^RAY_ADDRESS=127\.0\.0\.1:{port}: nobody answers"):
        Ray().workers(2, "cpu", usual=1)


@pytest.mark.parametrize(
    ("asked", "device", "workers"),
    [(None, "cpu", sys.maxsize), (3, "cuda", 3), (0, "cpu", None), (None, "cuda:1", None)],
)
def test_how_many_at_a_time(asked, device, workers):
    if workers is None:
        with pytest.raises(UserError, match="give"):
            Ray().workers(asked, device, usual=2)
    else:
        assert Ray().workers(asked, device, usual=2) == workers
    assert not Ray().is_here(1)


# A command with a Ray of its own, whose tasks say that they run and then sleep.
COMMAND = """
import sys
from pathlib import Path
from recsys_posttrain import cli
from recsys_posttrain.__main__ import main
from recsys_posttrain.studies.on_ray import Ray

folder = Path(sys.argv[1])
write = "open({!r}, 'w').write('1') and __import__('time').sleep(100)"
tasks = [write.format(str(folder / name)) for name in ("first", "second", "third")]
cli.app = lambda **_: list(Ray().answered(eval, tasks, 2, folder / "log"))
sys.exit(main())
"""


def processes_with(mark):
    """Those that inherited it, but Ray's two agents: they do nothing, and may outlive a kill -9."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().decode().split("\0")[0])
        except OSError:
            continue
    return [name for name in found if not name.endswith("Agent")]


def wait_until(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="Linux only")
@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGINT, 130, "interrupted: run the same command again to resume; "),
        (signal.SIGTERM, 143, "terminated: run the same command again to resume; "),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_whatever_ends_the_command_ends_its_ray(tmp_path, number, code, line):
    mark = f"RECSYS_POSTTRAIN_MARK={tmp_path}-{number}"
    name, _, value = mark.partition("=")
    without = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**without, name: value},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        wait_until(lambda: all((tmp_path / each).exists() for each in ("first", "second")))
        assert len(processes_with(mark)) > 3
        os.kill(process.pid, number)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    assert printed.splitlines() == ["Ray: 1 machine, 2 CPUs"] + (
        [line + "finished stages are reused"] if line else []
    )
    wait_until(lambda: not processes_with(mark), seconds=30)
    assert not (tmp_path / "third").exists()
