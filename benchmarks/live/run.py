"""The whole bench: a service is started, every fault happens to it, and the results are written."""

import logging
import resource
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from live import report
from live.faults import FAULTS
from live.random_lists import random_lists
from live.redis_server import require_installed
from live.rows import Measured, measured
from live.service import Bench, Service
from recsys_posttrain.config import require
from recsys_posttrain.live.running import run_to_the_end

_OTHER_FILES = 100  # that a gateway needs beside its connections


def run_bench(bench: Bench, output: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Writes table.md, faults.csv, run.json and figures into `output`; returns the rows.

    say: hears a line per fault. Errors: UserError without redis-server, or for more devices than
    this machine can hold.
    """
    require(bench.devices >= 2, f"--devices {bench.devices}: give 2 or more")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    require(
        most == resource.RLIM_INFINITY or bench.devices + _OTHER_FILES <= most,
        f"--devices {bench.devices}: a process may have {most} open files here, and one gateway "
        "holds all connections when the other is killed: give fewer, or raise it (ulimit -Hn)",
    )
    require(Path("/proc/self/stat").exists(), "live bench reads /proc, which only Linux has")
    require_installed()
    for name in ("redis_broker", "broker"):  # of the watch, which sees what is put into the stream
        logging.getLogger(f"recsys_posttrain.live.{name}").setLevel(logging.CRITICAL)
    before = report.circumstances()
    found: list[Measured] = []
    folder = Path(tempfile.mkdtemp(prefix="live-bench-"))
    try:
        lists = random_lists(bench.devices, bench.seed, folder / "data")
        users = {str(user): lists.of(str(user)) or {} for user in range(bench.devices)}

        async def play() -> None:
            service = Service(bench, folder)
            try:
                await service.start()
                say(f"{bench.devices:,} devices have their lists and a connection")
                for fault in FAULTS:
                    found.append(await measured(service, fault, users))
                    say(report.line(found[-1].row))
            finally:
                service.kill()

        run_to_the_end(play())
    finally:
        shutil.rmtree(folder)
    report.write(bench, before, found, output)
    return [each.row for each in found]
