"""Work in several processes of one thread each: faster in all than threads for models this small.

What is slow to import is imported once, in the process that workers are forked from. It runs
nothing in parallel, and BLAS gets no threads there, so nothing that a fork would lose is under way.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, get_all_start_methods, get_context, util
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import torch

from recsys_posttrain.errors import UserError
from recsys_posttrain.progress import say

Task = TypeVar("Task")
Result = TypeVar("Result")

START = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
PRELOADED = ["recsys_posttrain.studies.pipeline", "recsys_posttrain.studies.parallel"]
INTERRUPTED, TERMINATED = 130, 143  # exit codes
SECONDS_BETWEEN_LOOKS = 1.0  # while there is no task for now


class _End:
    """There are no more tasks."""


_END = _End()


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def answered(
    work: Callable[[Task], Result], tasks: Iterable[Task | None], processes: int, log: Path
) -> Generator[tuple[Task, Result], None, None]:
    """Yields each task with its result, as they finish.

    tasks: one is taken whenever a process is free; None says that there is none for now.
    processes: 1 is this one. work: a function of a module, as each process imports it anew. log: a
    file for what the other processes print. They end when the iterator is closed, and when this
    process does, whatever ends it. Where one is killed, its task is given to the others.

    Raises: UserError when the last process was killed; what `work` raised in one of them.
    """
    waiting = iter(tasks)
    if processes == 1:
        for task in waiting:
            if task is None:
                time.sleep(SECONDS_BETWEEN_LOOKS)
            else:
                yield task, work(task)
        return
    unfinished: list[Task] = []
    for alive in range(processes, 0, -1):
        try:
            yield from _in_pool(work, waiting, unfinished, alive, log)
            return
        except BrokenProcessPool as error:
            if alive == 1:
                raise UserError(
                    "the last worker process was killed (out of memory, perhaps) and its "
                    "unfinished work with it; what was finished is kept: run the same command "
                    "again with fewer --workers."
                ) from error
            say("a worker process was killed (out of memory, perhaps): the others go on")


def _in_pool(
    work: Callable[[Task], Result],
    tasks: Iterator[Task | None],
    unfinished: list[Task],
    processes: int,
    log: Path,
) -> Iterator[tuple[Task, Result]]:
    """unfinished: tasks to begin with; when a process was killed, those that have no result."""
    context = get_context(START)
    # Nothing is ever sent: its end tells the workers that nobody waits for them any more.
    reader, writer = context.Pipe(duplex=False)
    arguments = (reader, dict(os.environ), log)
    running: dict[Future[Result], Task] = {}
    try:
        with ProcessPoolExecutor(processes, context, _begin, arguments) as pool:
            try:
                while True:
                    task: Task | _End | None = _END
                    while len(running) < processes:
                        task = unfinished[0] if unfinished else next(tasks, _END)
                        if task is None or isinstance(task, _End):
                            break
                        unfinished[:1] = [task]
                        with _quiet_start():  # it stays in the list where that fails
                            future = pool.submit(work, task)
                        running[future] = unfinished.pop(0)
                    if running:
                        seconds = SECONDS_BETWEEN_LOOKS if task is None else None
                        done, _ = wait(running, seconds, FIRST_COMPLETED)
                        for future in done:
                            result = future.result()
                            yield running.pop(future), result
                    elif task is None:
                        time.sleep(SECONDS_BETWEEN_LOOKS)
                    else:
                        return
            except BaseException:
                writer.close()
                raise
    finally:
        unfinished += running.values()
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
