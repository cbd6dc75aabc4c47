"""SIGTERM and SIGINT at any moment: the exit code, one line, and never a table of a part."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from other_processes import children, is_alive, open_files

TESTS = Path(__file__).parent
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
LINES = {
    number: f"{how}: run the same command again to resume; finished stages are reused\n"
    for number, how in {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted"}.items()
}
ENDLESS = ["--set", "posttraining.epochs=100000"]
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@pytest.fixture
def start(tmp_path, small_ratings_csv):
    """Starts a command in a group of its own, as a terminal does; the last of the tests' files."""
    started = []

    def run(*words, module=True):
        command = [sys.executable, *(["-m", "recsys_posttrain"] if module else []), *words]
        with (tmp_path / "stderr").open("wb") as error:
            process = subprocess.Popen(
                command,
                cwd=tmp_path,
                stdout=subprocess.DEVNULL,
                stderr=error,
                start_new_session=True,
                env=os.environ
                | {
                    "OMP_NUM_THREADS": "1",
                    "WANDB_MODE": "disabled",
                    "RECSYS_POSTTRAIN_CACHE": str(tmp_path / "cache"),
                },
                # A shell starts what it runs in the background with Ctrl-C ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def study(start, small_ratings_csv):
    def run(workers, *more):
        csv = str(small_ratings_csv)
        words = ["run", str(TESTS / "small_study.py"), "--dataset", csv, "--seeds", "1"]
        return start(*words, "--workers", str(workers), *more)

    return run


@pytest.fixture
def stderr(tmp_path):
    return lambda: (tmp_path / "stderr").read_text()


def until(condition, process, seconds=200.0):
    """What the condition gives, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (holds := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        assert process.poll() is None, "it ended before"
        time.sleep(0.01)
    return holds


def trains(folder):
    """In `fit` of post-training, which logs nothing before its end: a little after it began."""
    return list((folder / "runs").glob(".partial-posttrain-*"))


def no_table(folder):
    return not list(folder.glob("runs/[!.]*/table.*")) and not list(
        folder.glob("runs/[!.]*/rows.parquet")
    )


@pytest.fixture
def ends(stderr, tmp_path):
    """It is sent a signal, and ends with its code and one line; no process and no table is left."""

    def check(process, number, group=False):
        family = [process.pid, *children(process.pid)]
        (os.killpg if group else os.kill)(process.pid, number)
        began = time.monotonic()
        assert process.wait(60) == CODES[number]
        assert time.monotonic() - began < 9, "it had to be ended by force"
        until_gone = time.monotonic() + 60
        while any(map(is_alive, family)):
            assert time.monotonic() < until_gone, "a process is left"
            time.sleep(0.01)
        assert stderr() == LINES[number]
        assert no_table(tmp_path)

    return check


@BOTH
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_inside_of_fit(study, ends, tmp_path, number, workers):
    """With two workers to the whole group, as Ctrl-C and `timeout` send it."""
    process = study(workers, *ENDLESS)
    until(lambda: len(trains(tmp_path)) >= workers, process)
    time.sleep(0.3)
    ends(process, number, group=workers > 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_to_the_parent_alone(study, ends, tmp_path, workers):
    process = study(workers, *ENDLESS)
    until(lambda: trains(tmp_path), process)
    ends(process, signal.SIGTERM)


def test_sigterm_to_a_worker_inside_of_fit_is_no_result_of_it(study, stderr, tmp_path):
    """Lightning's exception came back as the task's, and ended the parent with 0. The others go on
    with its work, until the last is killed."""
    process = study(2, *ENDLESS)
    until(lambda: len(trains(tmp_path)) == 2, process)
    time.sleep(0.3)
    first = _workers(process)
    os.kill(first[0], signal.SIGTERM)

    def later():
        found = _workers(process)
        return [] if set(first) & set(found) else found

    (last,) = until(later, process)
    os.kill(last, signal.SIGTERM)
    assert process.wait(60) == 2
    assert stderr().startswith("error: the last worker process was killed")
    assert no_table(tmp_path)


def _workers(process):
    """Those that build a stage now."""
    return [pid for pid in children(process.pid) if _holds_a_lock(pid)]


def _holds_a_lock(pid):
    """Of a stage that it builds."""
    return any(".locks" in path for path in open_files(pid))


@BOTH
def test_a_signal_during_the_imports(study, ends, number):
    """Of several moments; numpy, torch and Lightning are loaded in them one after the other."""
    for mark in ("numpy", "libtorch", "pyarrow"):  # the last is Lightning's
        process = study(1)
        maps = Path(f"/proc/{process.pid}/maps")
        until(lambda maps=maps, mark=mark: mark in maps.read_text(), process)
        ends(process, number)


@BOTH
def test_a_signal_while_the_data_are_read(start, ends, tmp_path, number):
    """And in the command's own code: `data fetch` has no stage."""
    big = tmp_path / "big.csv"
    rows = "".join(f"{n % 3000},{n % 977},{n % 5 + 1},{n}\n" for n in range(600_000))
    big.write_text("user_id,item_id,rating,timestamp\n" + rows)
    process = start("data", "fetch", str(big))
    until(lambda: str(big) in open_files(process.pid), process)
    ends(process, number)


def test_a_second_signal_does_not_wait(start, stderr, tmp_path):
    """Nor does the first, where nothing ends: a signal's exception can get lost."""
    (tmp_path / "deaf.py").write_text(
        "import sys, time\n"
        "from recsys_posttrain import endings\n"
        "def deaf():\n"
        "    while True:\n"
        "        try: open('ready', 'w').close(); time.sleep(100)\n"
        "        except endings.Stopped: open('heard', 'w').close()\n"
        "endings.SECONDS_TO_END = float(sys.argv[1])\n"
        "sys.exit(endings.exit_code(deaf))\n"
    )
    for seconds, signals in (("100", 2), ("0.5", 1)):
        (tmp_path / "ready").unlink(missing_ok=True)
        (tmp_path / "heard").unlink(missing_ok=True)
        process = start("deaf.py", seconds, module=False)
        until((tmp_path / "ready").exists, process)
        process.send_signal(signal.SIGTERM)
        if signals == 2:
            until((tmp_path / "heard").exists, process)
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        assert stderr() == LINES[signal.SIGTERM]


def test_an_exception_that_took_the_signals_place_does_not_hide_it(start, stderr, tmp_path):
    """A library that answers every exception with its own, or with exit code 0."""
    for answer in ("raise ImportError('numpy')", "sys.exit(0)", "return", "raise UserError('x')"):
        (tmp_path / "other.py").write_text(
            "import os, signal, sys\n"
            "from recsys_posttrain.endings import exit_code\n"
            "from recsys_posttrain.errors import UserError\n"
            "def command():\n"
            "    try: os.kill(os.getpid(), signal.SIGTERM)\n"
            f"    except BaseException: {answer}\n"
            "sys.exit(exit_code(command))\n"
        )
        assert start("other.py", module=False).wait(60) == 143
        assert stderr() == LINES[signal.SIGTERM]


def test_a_signal_in_a_destructor_ends_it_too(start, stderr, tmp_path):
    """Python drops the exception there, and the command would go on after a traceback."""
    (tmp_path / "lost.py").write_text(
        "import os, signal, sys, time\n"
        "from recsys_posttrain.endings import exit_code\n"
        "class Held:\n"
        "    def __del__(self): os.kill(os.getpid(), signal.SIGTERM)\n"
        "def command():\n"
        "    Held()\n"
        "    open('went on', 'w').close()\n"
        "sys.exit(exit_code(command))\n"
    )
    assert start("lost.py", module=False).wait(60) == 143
    assert stderr() == LINES[signal.SIGTERM]
    assert not (tmp_path / "went on").exists()


def test_a_library_that_aborts_while_python_ends_does_not_change_the_code(start, stderr, tmp_path):
    """std::terminate in the destructor of an interrupted thread: exit code -6. What was to be done
    at exit is done."""
    (tmp_path / "torn.py").write_text(
        "import atexit, os, signal, sys\n"
        "from recsys_posttrain.endings import exit_code\n"
        "class Library:\n"
        "    def __del__(self, abort=os.abort): abort()\n"
        "library = Library()\n"
        "atexit.register(lambda: open('cleaned up', 'w').close())\n"
        "sys.exit(exit_code(lambda: os.kill(os.getpid(), signal.SIGTERM)))\n"
    )
    assert start("torn.py", module=False).wait(60) == 143
    assert stderr() == LINES[signal.SIGTERM]
    assert (tmp_path / "cleaned up").exists()


@pytest.fixture
def sweep(start, small_ratings_csv):
    def run(workers):
        csv = str(small_ratings_csv)
        words = ["sweep", str(TESTS / "small_sweep.py"), "--dataset", csv]
        return start(*words, "--workers", str(workers))

    return run


@BOTH
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_in_a_sweep(sweep, ends, tmp_path, number, workers):
    process = sweep(workers)
    until(lambda: trains(tmp_path), process)
    ends(process, number, group=workers > 1)
