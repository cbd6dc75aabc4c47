"""Peak memory of this process, and what some work adds to it, measured in a process of its own."""

import contextlib
import resource
import subprocess
import sys
from pathlib import Path


def start_of_peak() -> float:
    """The resident size now, in MiB, from which a later `peak_resident_mib` is counted.

    On Linux the peak is forgotten first: loading data passes through a higher one, in which what
    comes after it would not show. Where that is not possible, the peak so far is returned.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_resident_mib()


def peak_resident_mib() -> float:
    """Of this process alone: what getrusage says on Linux includes the parent's peak."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def answer_of(script: Path | str, *words: object) -> str:
    """What a script prints last when it is run with these words by this interpreter."""
    command = [sys.executable, str(script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RuntimeError(f"{Path(script).name} {' '.join(map(str, words))}: {reason}")
    return done.stdout.strip().splitlines()[-1]
