"""Processes under test, and what the system says of them."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from recsys_posttrain.errors import UserError
from recsys_posttrain.seeding import derived_seed

# Runs a module or a script as its main program, with its clock off by so many seconds.
_START = """
import os, runpy, sys, time
off, right = float(sys.argv[1]), time.time
if off:
    time.time = lambda: right() + off
program, sys.argv = sys.argv[2], sys.argv[2:]
if program.endswith(".py"):
    sys.path.insert(0, os.path.dirname(program))
    runpy.run_path(program, run_name="__main__")
else:
    runpy.run_module(program, run_name="__main__", alter_sys=True)
"""
# Below those from which the system gives clients theirs: one that asks at a dead gateway's port
# could be given that port itself, and would be connected to itself.
_PORTS = range(15_000, 32_000)


class Process:
    """One running program, the package's command or a script; its log is a file of its name.

    clock: seconds by which its clock is off.
    """

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        folder: Path,
        clock: float = 0.0,
        program: Path | str = "recsys_posttrain",
    ) -> None:
        self.name, self.clock = name, clock
        self._log = folder / f"{name}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(clock), str(program), *words],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def listens(self) -> "Process":
        """Itself, once it has printed its address. Errors: UserError where it ends before."""
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise UserError(f"{self.name} ended at its start: {self.last_words()}")
        return self

    def last_words(self) -> str:
        """The last line that it wrote to its standard error."""
        return (self._log.read_text(errors="replace").strip().splitlines() or ["no word"])[-1]

    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL; also one that is stopped."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def stop(self) -> None:
        """SIGSTOP: it holds what it has and does nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def has_loaded(self, library: str) -> bool:
        """Whether a file of this name is mapped: a process without torch calls no model."""
        with suppress(OSError):
            return library in Path(f"/proc/{self.pid}/maps").read_text()
        return False


def processor_seconds(pid: int) -> float:
    """Time that a process has computed, which on a busy machine is less than what has passed; 0
    where it is gone."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def memory_bytes(pid: int) -> int:
    """Memory that a process holds; 0 where it is gone."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")
    return 0


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    generator = np.random.default_rng(derived_seed(os.getpid(), "live_bench_ports"))
    found: list[int] = []
    for port in generator.permutation(_PORTS).tolist():
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            break
    return found
