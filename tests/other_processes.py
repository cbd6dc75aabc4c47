"""What /proc says of a process that may end at any moment: one that has ended has no children
and no open files, and is not alive."""

import contextlib
import os
from pathlib import Path

# A file of /proc is gone, or says that its process is, from one line to the next.
_may_end = contextlib.suppress(FileNotFoundError, ProcessLookupError)


def is_alive(pid):
    """A zombie is not: it only waits for whoever asks how it ended."""
    with _may_end:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def children(pid):
    """Of all generations."""
    found = []
    with _may_end:
        for file in list(Path(f"/proc/{pid}/task").glob("*/children")):
            with _may_end:  # a thread may end before the others
                for child in map(int, file.read_text().split()):
                    found += [child, *children(child)]
    return found


def open_files(pid):
    found = []
    with _may_end:
        for each in list(Path(f"/proc/{pid}/fd").iterdir()):
            with _may_end:  # closed meanwhile
                found.append(os.readlink(each))
    return found


def words(pid):
    """Its command line, as one text; empty where it has ended."""
    with _may_end:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    return ""
