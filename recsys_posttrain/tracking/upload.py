"""Uploads offline W&B runs in a process of its own, which can be ended: without a network W&B's
client waits and tries again for minutes."""

import http.client
import netrc
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

SERVICE = "https://api.wandb.ai"
SECONDS_TO_ANSWER = 5.0  # of the service, before anything is sent
SECONDS = 90.0  # for a study's runs and workspace; what is left over is for the next call


def wandb_login() -> str | None:
    """How the user is logged in to W&B, without importing it, which is slow; None where not."""
    if os.environ.get("WANDB_API_KEY"):
        return "WANDB_API_KEY"
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    own_host = re.sub(r"^\w+://|/.*$", "", os.environ.get("WANDB_BASE_URL", ""))
    try:
        hosts = netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError):
        return None
    # For any host of the service: its name has changed before.
    is_there = any("wandb" in host or host == own_host for host in hosts)
    return "logged in" if is_there else None


def is_logged_in() -> bool:
    """Whether runs are to be uploaded: a login, and WANDB_MODE not offline."""
    return os.environ.get("WANDB_MODE", "online") == "online" and wandb_login() is not None


def upload(waiting: Sequence[Path], runs: Path, study: Path) -> str:
    """Uploads these of the folder's runs, and the study's workspace; returns how it went."""
    began = time.monotonic()
    if not waiting:
        return f"everything in {runs} is uploaded"
    trouble = unreachable(os.environ.get("WANDB_BASE_URL", SERVICE))
    if not trouble:
        ended, said = _run([sys.executable, "-m", "wandb", "sync", *map(str, waiting)], SECONDS)
        trouble = said if ended else ""
        if ended is None:
            trouble = f"not done in {SECONDS:g} s: no network, or a wrong key?"
    if trouble:
        return (
            f"warning: {len(waiting)} runs not uploaded ({trouble}); they are in {runs}; to upload "
            f"later: recsys-posttrain wandb-sync {shlex.quote(str(study))}"
        )
    module = [sys.executable, "-m", "recsys_posttrain.tracking.workspace", str(study)]
    ended, said = _run(module, max(0.0, SECONDS - (time.monotonic() - began)))
    return f"{len(waiting)} runs uploaded; workspace: {said if ended == 0 else 'not saved'}"


def unreachable(service: str) -> str:
    """Why the service does not answer within SECONDS_TO_ANSWER; empty where it does, whatever it
    says: W&B's client knows proxies, certificates and keys better."""
    said: list[str] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(service, timeout=SECONDS_TO_ANSWER):
                said.append("")
        except urllib.error.HTTPError:
            said.append("")
        except (OSError, ValueError, http.client.HTTPException) as error:
            said.append(f"{service}: {getattr(error, 'reason', error)}")

    # Aside, because looking a name up knows no limit.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS_TO_ANSWER)
    return said[0] if said else f"{service} does not answer within {SECONDS_TO_ANSWER:g} s"


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
    except BaseException:  # nobody waits for it any more
        os.killpg(process.pid, signal.SIGKILL)
        raise
    lines = said.strip().splitlines()
    return process.returncode, lines[-1] if lines else ""
