"""Uploads offline W&B runs in a process of its own, which can be ended: without a network W&B's
client waits and tries again for minutes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from recsys_posttrain.doctor import wandb_login

SECONDS = 90.0  # for a study's runs and workspace; what is left over is for the next call


def is_logged_in() -> bool:
    """Whether runs are to be uploaded: a login, and WANDB_MODE not offline."""
    return os.environ.get("WANDB_MODE", "online") == "online" and wandb_login() is not None


def upload(runs: Path, study: Path, seconds: float | None = None) -> str:
    """Uploads the folder's offline runs, and the workspace beside them; returns how it went."""
    limit = SECONDS if seconds is None else seconds
    began = time.monotonic()
    again = f"to upload later: recsys-posttrain wandb-sync {study}"
    waiting = [
        str(run)
        for run in sorted(runs.glob("offline-run-*"))
        if not list(run.glob("*.wandb.synced"))
    ]
    if not waiting:
        return f"everything in {runs} is uploaded"
    ended, said = _run([sys.executable, "-m", "wandb", "sync", *waiting], limit)
    if ended is None:
        return (
            f"warning: {len(waiting)} runs not uploaded in {limit:g} s (no network, or a wrong "
            f"key?); they are in {runs}; {again}"
        )
    if ended:
        return f"warning: runs not uploaded ({said}); they are in {runs}; {again}"
    module = [sys.executable, "-m", "recsys_posttrain.sweep.workspace", str(study)]
    ended, said = _run(module, max(0.0, limit - (time.monotonic() - began)))
    return f"{len(waiting)} runs uploaded; workspace: {said if ended == 0 else 'not made'}"


def _run(command: list[str], seconds: float) -> tuple[int | None, str]:
    """Exit code (None where time ran out) and the last line said; its children end with it."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, ""
    lines = said.strip().splitlines()
    return process.returncode, lines[-1] if lines else ""
