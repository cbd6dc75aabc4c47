"""A command with all its processes: started, hit by a signal, and watched until all are gone."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import recsys_posttrain

SECONDS_TO_GO = 20.0  # for what a command leaves behind
ENDED_BY = {
    signal.SIGKILL: {-signal.SIGKILL},
    # Its own exit code, or the signal's where it came before the handler or after the end.
    signal.SIGTERM: {143, -signal.SIGTERM},
    signal.SIGINT: {130, -signal.SIGINT},
}
_PACKAGE = Path(recsys_posttrain.__file__).parent
_FRAME = re.compile(r'^  File "(.*)", line \d+, in (.*)$', re.MULTILINE)


class Family:
    """In a session of its own, as a terminal gives to what it starts."""

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.log = folder / "log.txt"
        self.began_at = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
                # A shell starts what it runs in the background with Ctrl-C ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def is_running(self) -> bool:
        return self.process.poll() is None

    def has_ended(self) -> bool:
        return not self.is_running()

    def hit(self, number: int, target: str, rng: random.Random) -> bool:
        """target: parent, worker (any other process of it) or group. Whether there was one."""
        others = [pid for pid in self.members() if pid != self.process.pid]
        if target == "worker" and not others:
            return False
        try:
            if target == "group":
                os.killpg(self.process.pid, number)
            else:
                os.kill(rng.choice(others) if target == "worker" else self.process.pid, number)
        except ProcessLookupError:  # it ended at this moment
            return False
        return True

    def members(self) -> list[int]:
        """Zombies are none: they only wait to be asked how they ended."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            except OSError:  # gone meanwhile
                continue
            if int(session) == self.process.pid and state != "Z":
                found.append(int(stat.parent.name))
        return found

    def orphans(self) -> list[int]:
        """After the command's end: who of it does not go by itself. They are ended."""
        wait_until(lambda: not self.members(), SECONDS_TO_GO)
        left = self.members()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return left

    def said(self) -> str:
        return self.log.read_bytes()[self.began_at :].decode(errors="replace")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def codes_if_early(said: str) -> set[int]:
    """The exit codes where this is Python's answer to Ctrl-C before the command's first line: one
    traceback of a KeyboardInterrupt that is in no function of ours; empty where it is not."""
    where = [function for file, function in _FRAME.findall(said) if _PACKAGE in Path(file).parents]
    is_one = said.count("Traceback (most recent call last)") == 1
    if not is_one or "\nKeyboardInterrupt" not in said or set(where) - {"<module>"}:
        return set()
    if "Fatal Python error: init_import_site" in said:
        return {1}
    return {-signal.SIGINT, 128 + signal.SIGINT}
