"""Runs one input of the fuzz test: in a process of its own, with a limit of time and of memory.

The process is forked from one that has imported everything, so an input costs milliseconds, and a
crash, a hang or a lost reference stays its own.
"""

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any

SECONDS = 60
BYTES = 8 * 2**30  # of address space: enough for torch, too little for a bomb
PATIENCE = 0.002


@dataclass(frozen=True)
class Ending:
    """How an input ended. code: the exit code; None where it hung. value: what was computed."""

    code: int | None
    text: str
    value: Any = None

    @property
    def fault(self):
        """What no input may do, whatever it is; empty where it did not."""
        if self.code is None:
            return "hang"
        if "Traceback (most recent call last)" in self.text:
            return "traceback"
        if self.code not in (0, 2):
            return f"exit code {self.code}"
        if self.code == 2 and not self.text.strip():
            return "exit code 2 without a sentence"
        return ""


def ended(work, folder, seconds=SECONDS):
    """`work` in a process of its own, in `folder`; its value is sent as JSON."""
    said, answered = folder / ".said", folder / ".answered"
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os._exit(_in_child(work, folder, said, answered))
    deadline = time.monotonic() + seconds
    while (finished := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Ending(None, said.read_text(errors="replace") if said.exists() else "")
        time.sleep(PATIENCE)
    code = os.waitstatus_to_exitcode(finished[1])
    text = said.read_text(errors="replace")
    value = json.loads(answered.read_text()) if answered.exists() else None
    for path in (said, answered):
        path.unlink(missing_ok=True)
    return Ending(code, text, value)


def _in_child(work, folder, said, answered):
    from recsys_posttrain.errors import UserError

    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    os.chdir(folder)
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(os.fdopen(stream, "wb", closefd=False), line_buffering=True)
        for stream in (1, 2)
    )
    try:
        value = work()
        if value is not None:
            answered.write_text(json.dumps(value))
        code = 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def command(*words):
    """The command line with these words, as a person would type them."""

    def work():
        from recsys_posttrain.__main__ import main

        sys.argv = ["recsys-posttrain", *words]
        sys.exit(main())

    return work


def import_everything():
    """What inputs need, once, before the first of them is forked."""
    import datasets  # type: ignore[import-untyped]  # noqa: F401
    import optuna  # noqa: F401
    import pyarrow.parquet  # type: ignore[import-untyped]  # noqa: F401
    import pytorch_lightning  # noqa: F401
    import sklearn.ensemble  # type: ignore[import-untyped]  # noqa: F401

    import recsys_posttrain.advise
    import recsys_posttrain.cli
    import recsys_posttrain.recommendation
    import recsys_posttrain.report.page
    import recsys_posttrain.studies.study
    import recsys_posttrain.sweep.run  # noqa: F401


def unfinished(folder):
    """Files below that are cut short, or temporary, outside of what resumes (`.partial-*`)."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if not path.is_file() or any(part.startswith((".partial-", "wandb")) for part in parts):
            continue
        if any(part.startswith(".tmp-") for part in parts) or not _is_whole(path):
            found.append("/".join(parts))
    return found


def _is_whole(path):
    import pandas as pd

    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".parquet":
            pd.read_parquet(path)
        elif path.suffix == ".csv":
            pd.read_csv(path)
    except Exception:
        return False
    return True


def copied(source, folder):
    """A copy of a folder that may be damaged; files are linked until then, where that is safe."""
    target = folder / source.name
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("wandb"))
    return target
