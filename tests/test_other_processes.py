"""What the tests see of a process that ends while they look."""

import os
import subprocess
import sys

import pytest
from other_processes import children, is_alive, open_files, words

# Threads and children that end one after the other.
SHORT = """
import subprocess, threading
for _ in range(40):
    threading.Thread(target=subprocess.run, args=(["true"],)).start()
"""


def test_a_process_may_end_at_any_moment():
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", SHORT])
        while is_alive(process.pid):
            for each in [process.pid, *children(process.pid)]:
                open_files(each), words(each)
        assert process.wait() == 0
        assert (children(process.pid), open_files(process.pid), words(process.pid)) == ([], [], "")


def test_what_lives_is_seen(tmp_path):
    path = tmp_path / "held"
    holds = "import sys, time; held = open(sys.argv[1], 'w'); print(flush=True); time.sleep(100)"
    asked = [sys.executable, "-c", holds, str(path)]
    with subprocess.Popen(asked, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert is_alive(process.pid)
        assert process.pid in children(os.getpid())
        assert str(path) in open_files(process.pid)
        assert words(process.pid).split("\0")[-2] == str(path)
        process.kill()
        process.wait()
        assert not is_alive(process.pid)


@pytest.mark.parametrize("seen", [children, open_files])
def test_another_fault_is_not_hidden(seen, monkeypatch):
    def refused(*_, **__):
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.glob", refused)
    monkeypatch.setattr("pathlib.Path.iterdir", refused)
    with pytest.raises(PermissionError):
        seen(os.getpid())
