"""Work in several processes of one thread each: faster in all than threads for models this small.

The slow imports are made once, in the process that workers are forked from. It runs nothing in
parallel, and BLAS gets no threads there, so nothing that a fork would lose is under way.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, get_all_start_methods, get_context, util
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import torch

from recsys_posttrain.errors import UserError
from recsys_posttrain.progress import console, progress_bar

Task = TypeVar("Task")
Result = TypeVar("Result")

START = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
PRELOADED = ["recsys_posttrain.studies.pipeline", "recsys_posttrain.studies.parallel"]
INTERRUPTED, TERMINATED = 130, 143  # exit codes


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def finished(
    work: Callable[[Task], Result], tasks: Sequence[Task], processes: int, title: str, log: Path
) -> Iterator[tuple[Task, Result]]:
    """Each task with its result, as they finish; on a terminal under a progress bar.

    processes: 1 is this one. work: of a module, as each process imports it anew. log: a file for
    what the others print. They end when the iterator is closed, and when this process does,
    whatever ends it.

    Raises: UserError when a process was killed; what `work` raised in one of them.
    """
    with progress_bar(title, len(tasks), console) as advance:
        here = zip(tasks, map(work, tasks), strict=True)
        for pair in here if processes == 1 else _in_pool(work, tasks, processes, log):
            advance(1)
            yield pair


def _in_pool(
    work: Callable[[Task], Result], tasks: Sequence[Task], processes: int, log: Path
) -> Iterator[tuple[Task, Result]]:
    context = get_context(START)
    # Nothing is ever sent: its end tells the workers that nobody waits for them any more.
    reader, writer = context.Pipe(duplex=False)
    arguments = (reader, dict(os.environ), log)
    try:
        with ProcessPoolExecutor(min(processes, len(tasks)), context, _begin, arguments) as pool:
            try:
                with _quiet_start():
                    waiting = {pool.submit(work, task): task for task in tasks}
                for future in as_completed(waiting):
                    yield waiting[future], future.result()
            except BaseException:
                writer.close()
                raise
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed (out of memory, perhaps) and its unfinished work with it; "
            "what was finished is kept: run the same command again with fewer --workers."
        ) from error
    finally:
        writer.close()
        reader.close()


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Processes that start within never see Ctrl-C, which a terminal sends to all at once: this
    one ends them; SIGTERM workers alone, once they have begun, because the process that they are
    forked from has to clean up. Libraries with thread pools of their own get one thread."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        if START == "forkserver":
            forkserver.set_forkserver_preload(PRELOADED)
            forkserver.ensure_running()
        yield
    finally:
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = threads
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(reader: Connection, environment: dict[str, str], log: Path) -> None:
    """Of a worker, before its first task."""

    def end_with_parent() -> None:
        reader.poll(None)
        _leave(INTERRUPTED)

    threading.Thread(target=end_with_parent, daemon=True).start()
    # At once: an exception would be sent to the parent as this task's result.
    signal.signal(signal.SIGTERM, lambda *_: _leave(TERMINATED))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    torch.set_num_threads(1)
    os.environ.clear()  # the forkserver's are as old as that process
    os.environ.update(environment)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def _leave(code: int) -> None:
    """At once, whatever the worker is doing. Only locks of libraries are given back, as otherwise
    a line about leaks would be the last one of the command."""
    with suppress(Exception):
        util._run_finalizers()  # type: ignore[attr-defined]
    os._exit(code)
