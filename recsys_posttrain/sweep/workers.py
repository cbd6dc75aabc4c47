"""Worker processes of this command, one thread each; they end with it, whatever ends it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep.ledger import Ledger
from recsys_posttrain.sweep.slots import WORKER
from recsys_posttrain.sweep.work import SECONDS_BETWEEN_LOOKS, worker_name


def run_workers(
    count: int,
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    ledger: Ledger,
    look: Callable[[], None],
) -> None:
    """Returns when all have ended well: then the whole sweep is done. look: called now and then.

    command: of one worker. environment: what is added to this process's. What they
    print goes to worker-N.log. A worker that dies leaves its
    trial to the others.

    Raises: UserError when a worker met the user's mistake, or the last one died.
    """
    logs = [folder / f"worker-{number}.log" for number in range(1, count + 1)]
    workers = [_started(command, environment, log) for log in logs]
    alive = dict(zip(workers, logs, strict=True))
    try:
        while alive:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            for worker, log in list(alive.items()):
                code = worker.poll()
                if code is None:
                    continue
                del alive[worker]
                if code != 0:
                    _after_death(worker.pid, code, log, ledger, bool(alive))
            look()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            for slots in ledger.queues() if worker in alive else ():
                slots.requeue(_of(worker.pid))


def _started(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    with log.open("wb") as output, _without_interrupts():
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # its end tells the worker that this process is gone
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that start within never see Ctrl-C, which a terminal sends to all at once: this
    one ends them, and one that has just begun would say a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _of(pid: int) -> Callable[..., bool]:
    name = worker_name(pid)
    return lambda trial: trial.user_attrs.get(WORKER) == name


def _after_death(pid: int, code: int, log: Path, ledger: Ledger, others: bool) -> None:
    for slots in ledger.queues():
        slots.requeue(_of(pid))
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
    if code == 2:
        raise UserError(lines[-1].removeprefix("error: "))
    if code == 1:
        raise RuntimeError(f"a worker failed; see {log}: {lines[-1]}")
    if not others:
        raise UserError(
            f"the last worker was killed (exit code {code}) before the sweep was done: run the "
            "same command again to go on"
        )


def end_with_parent() -> None:
    """Called by a worker: ends the process when its standard input ends."""

    def wait() -> None:
        with suppress(OSError):
            while os.read(sys.stdin.fileno(), 1):
                pass
        os._exit(130)

    threading.Thread(target=wait, daemon=True).start()
