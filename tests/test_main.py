"""The first lines of a command, where its handler of signals is not there yet."""

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
