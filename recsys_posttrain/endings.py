"""How a command ends: with its exit code, and in one line where a signal stopped it.

SIGINT (Ctrl-C) and SIGTERM (`timeout`, systemd, SLURM, Kubernetes) raise `Stopped` wherever the
main thread is, so that what is under way cleans up: workers end, a claimed trial is queued again.
Nothing depends on that, as a process may be killed at any moment without loss; so a second signal,
or a clean-up of more than SECONDS_TO_END, ends the process at once.
"""

import _thread
import atexit
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from recsys_posttrain.errors import UserError

SECONDS_TO_END = 10.0
OUT_OF_MEMORY = (
    "this machine has not enough memory for that: choose a smaller model (--set backbone.dim=64), "
    "a smaller batch_size, or fewer --workers"
)
_WORDS: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
# Python's tracker of shared semaphores outlives this process, cleans up after it, and would say so.
_NO_TRACKER_REPORT = "ignore::UserWarning:multiprocessing.resource_tracker"
_SHOW_CURSOR = b"\x1b[?25h"  # which progress bars hide


class Stopped(SystemExit):
    """A signal asks this process to end. A SystemExit, because libraries let that pass, where
    Lightning and typer turn a KeyboardInterrupt into another exit and asyncio swallows the rest."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class _OnSignal:
    """The handler. number: of the first signal; 0 before."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.number or _is_importing(frame):
            _end(self.number or number)
        self.number = number
        # Not a threading.Thread: its start waits, and what it waits for may be interrupted code.
        _thread.start_new_thread(_end_later, (number,))
        raise Stopped(number)

    def in_a_destructor(self, lost: "sys.UnraisableHookArgs") -> None:
        """Python drops what is raised there, says so with a traceback, and goes on."""
        if self.number:
            _end(self.number)
        sys.__unraisablehook__(lost)


def exit_code(command: Callable[[], object]) -> int:
    """Runs it: 0 done, 2 the user's mistake or too little memory (one line), 130 interrupted, 143
    terminated, 1 our mistake. A signal that is ignored stays so, as in the background of a shell.

    To be the last thing that a process does: both signals end it in silence afterwards.
    """
    on_signal = _OnSignal()
    warnings = [os.environ.get("PYTHONWARNINGS"), _NO_TRACKER_REPORT]
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, warnings))
    handled = [number for number in _WORDS if signal.getsignal(number) != signal.SIG_IGN]
    for number in handled:
        signal.signal(number, on_signal)
    sys.unraisablehook = on_signal.in_a_destructor
    code = 0
    try:
        command()
    except UserError as error:
        code = 2
        if not on_signal.number:
            print(f"error: {error}", file=sys.stderr)
    except (KeyboardInterrupt, SystemExit) as end:
        # A library's own handler raises KeyboardInterrupt; others exit because of one.
        if not on_signal.number and not any(isinstance(e, KeyboardInterrupt) for e in _causes(end)):
            raise
        on_signal.number = on_signal.number or signal.SIGINT
    except Exception as error:
        code = 2 if _ran_out_of_memory(error) else 1
        if code == 2 and not on_signal.number:
            print(f"error: {OUT_OF_MEMORY}", file=sys.stderr)
        elif not on_signal.number:
            import traceback

            traceback.print_exc()
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
    if on_signal.number:  # whatever became of its exception on the way
        _leave(on_signal.number)
    return code


def _leave(number: int) -> NoReturn:
    """Ends the process after what is to be done at exit, and without tearing libraries down: they
    were interrupted at any point, and one may abort the process, with an exit code of its own."""
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
    _end(number)


def _ran_out_of_memory(error: BaseException) -> bool:
    """Here or in a library: PyTorch has no class for it on a CPU."""
    return any(
        isinstance(each, MemoryError)
        or type(each).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(each)
        for each in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, and those that it comes from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_importing(frame: FrameType | None) -> bool:
    """An exception in the middle of an import can get lost, be turned into an ImportError with a
    traceback, or end the process in C++."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _end_later(number: int) -> None:
    time.sleep(SECONDS_TO_END)
    _end(number)


def _end(number: int) -> NoReturn:
    # Not by sys.stderr, which interrupted code may be using.
    os.write(2, f"{_line(number)}\n".encode())
    if sys.stdout is not None and sys.stdout.isatty():
        os.write(1, _SHOW_CURSOR)
    os._exit(128 + number)


def _line(number: int) -> str:
    return f"{_WORDS[number]}: run the same command again to resume; finished stages are reused"
