"""Signals while a command is being loaded: before its handler is there, and in its imports."""

import signal
import subprocess
import sys

import pytest

# Ctrl-C at the moment when the handler's module is looked for.
SCRIPT = """
import os, signal, sys
from recsys_posttrain.__main__ import main
class Interrupts:
    def find_spec(name, path, target=None):
        if name == "recsys_posttrain.endings":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts)
sys.argv = ["recsys-posttrain", "--help"]
sys.exit(main())
"""
TYPING = (
    "import sys, recsys_posttrain.__main__; print(sorted({'typing', 'typer'} & {*sys.modules}))"
)


@pytest.mark.parametrize(
    ("before", "code"), [(signal.default_int_handler, -signal.SIGINT), (signal.SIG_IGN, 0)]
)
def test_ctrl_c_at_the_first_line_ends_it_in_silence_and_an_ignored_one_stays_so(before, code):
    """A shell starts what it runs in the background with Ctrl-C ignored."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, before),
    )
    assert done.returncode == code
    assert done.stderr == ""
    assert ("Usage" in done.stdout) == (code == 0)


def test_little_is_imported_before_that():
    done = subprocess.run([sys.executable, "-S", "-c", TYPING], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


IMPORTS = """
import sys
from recsys_posttrain.endings import exit_code
def command():
    import interrupted
    open("went-on", "w").close()
sys.exit(exit_code(command))
"""
INTERRUPTED = """
import os, signal
try:
    os.kill(os.getpid(), signal.{})
except BaseException:  # as numpy, which answers with an ImportError, or C++
    open("raised", "w").close()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_of_an_import_raises_nothing_there(number, code, tmp_path):
    (tmp_path / "command.py").write_text(IMPORTS)
    (tmp_path / "interrupted.py").write_text(INTERRUPTED.format(number.name))
    done = subprocess.run(
        [sys.executable, "command.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert done.returncode == code
    assert done.stderr.endswith(
        "run the same command again to resume; finished stages are reused\n"
    )
    assert done.stderr.count("\n") == 1
    assert not {"raised", "went-on"} & {path.name for path in tmp_path.iterdir()}
