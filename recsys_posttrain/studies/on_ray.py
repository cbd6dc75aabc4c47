"""Work as tasks of Ray, for studies and sweeps on several machines (`--engine ray`).

RAY_ADDRESS names the cluster; without it Ray is started on this machine, for as long as the command
runs. Every machine has this package and sees the folder of the command at the same path: stages are
read and written there, so a machine that dies costs what it had under way and no more.
"""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.progress import say
from recsys_posttrain.provenance import check_same, package_code, package_versions
from recsys_posttrain.studies.engine import check_asked
from recsys_posttrain.studies.parallel import SECONDS_BETWEEN_LOOKS

Task = TypeVar("Task")
Result = TypeVar("Result")

ATTEMPTS = 3  # of a task whose machine or process dies
OBJECTS = 80 * 2**20  # bytes for results, which are small; Ray's own choice is a third of memory
_PASSED_ON = "RECSYS_POSTTRAIN_"  # environment variables that begin so


class _Command(NamedTuple):
    """What a task must find on its machine as the command has it. code: digest of the package."""

    folder: Path
    variables: dict[str, str]
    versions: dict[str, str]
    code: str


@dataclass(frozen=True)
class Ray:
    """A task takes one CPU and so many GPUs: .5 where two share one."""

    gpus: float = 0.0

    def workers(self, asked: int | None, device: str, usual: int) -> int:
        """Tasks at a time, at most: as many as the cluster has room for, unless asked for fewer.

        Raises: UserError where Ray is not installed, or nobody listens at RAY_ADDRESS.
        """
        check_asked(asked)
        require(
            device in ("cpu", "cuda"),
            f"--device {device}: Ray chooses the GPU of a task; give --device cuda.",
        )
        require(
            find_spec("ray") is not None,
            "--engine ray: Ray is not installed; install recsys-posttrain[ray].",
        )
        _check_address(os.environ.get("RAY_ADDRESS", ""))
        return asked or sys.maxsize

    def is_here(self, workers: int) -> bool:
        """Whether this process does the work itself."""
        return False

    def answered(
        self,
        work: Callable[[Task], Result],
        tasks: Iterable[Task | None],
        workers: int,
        log: Path,
    ) -> Generator[tuple[Task, Result], None, None]:
        """As parallel.answered. A task is tried again, up to ATTEMPTS times in all, where its
        machine or process dies.

        Raises: UserError where Ray is not reached, has no GPU, or another version or code on one
        of its machines; where a task is lost each time.
        """
        gpus = self.gpus
        with _connected(workers) as ray:
            there = ray.cluster_resources()
            require(
                (has := there.get("GPU", 0.0)) >= gpus,
                f"--device cuda: Ray has {has:g} GPUs, and a task takes {gpus:g}; leave --device "
                "out, or start its machines with --num-gpus.",
            )
            alive = sum(node["Alive"] for node in ray.nodes())
            say(f"Ray: {_described(alive, there)}")
            task_of = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_done)
            command = ray.put(_this_command())

            def started(task: Task) -> Any:
                return task_of.remote(command, work, task, log)

            def room() -> int:
                now = ray.cluster_resources()
                tasks = now.get("GPU", 0.0) / gpus if gpus else now.get("CPU", 1.0)
                return min(workers, max(1, int(tasks)))

            yield from _collected(ray, started, iter(tasks), room)


def _collected(
    ray: Any, started: Callable[[Task], Any], tasks: Iterator[Task | None], room: Callable[[], int]
) -> Iterator[tuple[Task, Any]]:
    """room: how many may run now; machines come and go."""
    running: dict[Any, tuple[Task, int]] = {}  # with the attempt
    lost: list[tuple[Task, int]] = []
    is_over = False
    try:
        while True:
            while len(running) < room():
                if lost:
                    task, attempt = lost.pop(0)
                else:
                    try:
                        given = None if is_over else next(tasks)
                    except StopIteration:
                        is_over, given = True, None
                    if given is None:
                        break
                    task, attempt = given, 1
                running[started(task)] = task, attempt
            if not running and is_over:
                return
            if not running:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                continue
            done, _ = ray.wait(list(running), timeout=SECONDS_BETWEEN_LOOKS)
            for reference in done:
                task, attempt = running.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None
                except ray.exceptions.RayError as error:
                    if attempt == ATTEMPTS:
                        raise UserError(
                            f"Ray lost the machine or the process of one task {ATTEMPTS} times "
                            f"(out of memory, perhaps): {_sentence(error)}; what was finished "
                            "is kept: run the same command again."
                        ) from error
                    reason = _sentence(error)
                    say(f"Ray lost a machine or a process ({reason}): its task begins again")
                    lost.append((task, attempt + 1))
                else:
                    yield task, result
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _done(command: _Command, work: Callable[[Task], Result], task: Task, log: Path) -> Result:
    """In a process of Ray."""
    machine = os.uname().nodename
    try:
        os.chdir(command.folder)
    except OSError as error:
        raise UserError(
            f"{machine}, a machine of Ray, has no folder {command.folder}: all of them need the "
            "folder of the command at the same path, on a disk that they share."
        ) from error
    who = f"{machine}, a machine of Ray,"
    check_same(command.versions, command.code, who, "this command")
    os.environ.update(command.variables)
    torch.set_num_threads(1)
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("a", encoding="utf-8") as file,
        redirect_stdout(file),
        redirect_stderr(file),
    ):
        return work(task)


def _this_command() -> _Command:
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    passed_on.pop(f"{_PASSED_ON}STORAGE", None)  # it may hold a password, and no task needs it
    return _Command(Path.cwd(), passed_on, package_versions(), package_code())


def _check_address(address: str) -> None:
    """At once, and not after the shared stages. Raises: UserError where nobody listens."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return  # "auto", say
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"RAY_ADDRESS={address}: nobody answers there ({error}); start Ray on that machine "
            "with `ray start --head`, or unset RAY_ADDRESS for this machine alone."
        ) from error


@contextmanager
def _connected(workers: int) -> Iterator[Any]:
    """Ray's module, with a connection while the block runs."""
    address = os.environ.get("RAY_ADDRESS", "")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not address:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # as by itself, and without a line about it
    import ray

    own: dict[str, Any] = {"num_cpus": None if workers == sys.maxsize else workers}
    own |= {"object_store_memory": OBJECTS, "include_dashboard": False}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",
            configure_logging=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else own),
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = f"RAY_ADDRESS={address}" if address else "Ray on this machine"
        hint = (
            "; where it asks for a token, set RAY_AUTH_MODE=token and have ~/.ray/auth_token here"
        )
        raise UserError(f"{where}: {_sentence(error)}{hint if address else ''}.") from error
    finally:
        if signal.getsignal(signal.SIGTERM) != handler:
            signal.signal(signal.SIGTERM, handler)  # Ray's own would end this process
    try:
        yield ray
    finally:
        ray.shutdown()


def _described(machines: int, there: dict[str, float]) -> str:
    parts = [f"{machines} machine{'s' * (machines != 1)}", f"{there.get('CPU', 0):g} CPUs"]
    return ", ".join(parts + ([f"{there['GPU']:g} GPUs"] if there.get("GPU") else []))


def _sentence(error: BaseException) -> str:
    """Its first one."""
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".") or type(error).__name__
