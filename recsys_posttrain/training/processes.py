"""Other processes of this machine that help with one training, started for it and ended with it."""

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.training import launched
from recsys_posttrain.training.group import ALONE, Group

LOG = "process-{}.log"
MOST_DEVICES = 256


def check_devices(devices: int, device: str) -> None:
    """Raises UserError for fewer than 1, and for several that are no CPUs."""
    require(
        isinstance(devices, int) and 1 <= devices <= MOST_DEVICES,
        f"devices={devices!r}: give a number of processes from 1 to {MOST_DEVICES}.",
    )
    require(
        devices == 1 or device == "cpu",
        f"devices={devices} and device={device}: several processes share a training on the CPU "
        "alone so far; take devices=1.",
    )


@contextmanager
def helped(size: int, work: Callable[..., object], *arguments: Any) -> Iterator[Group]:
    """A block in which this process is the first of `size`; the others run work(*arguments, group)
    until it is over. The threads of this process are shared out.

    Raises: UserError where another process ends early, with what it said.
    """
    if size == 1:
        yield ALONE
        return
    if launched.by_torchrun().size > 1:
        with launched.helped(size, work, arguments) as group:
            yield group
        return
    require(
        not distributed.is_initialized(),
        "this program has a process group of torch.distributed already; leave --devices out.",
    )
    threads = torch.get_num_threads()
    context = get_context("spawn")  # workers of studies have a forkserver, begun in a way of theirs
    with tempfile.TemporaryDirectory(prefix="recsys-posttrain-") as name:
        others = [
            context.Process(
                target=_help,
                args=(Path(name), rank, size, max(1, threads // size), work, arguments),
                daemon=True,
            )
            for rank in range(1, size)
        ]
        try:
            # Ctrl-C goes to all: this process ends the others.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                for each in others:
                    each.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            torch.set_num_threads(max(1, threads // size))
            _join(Path(name), 0, size)
            yield Group(0, size)
        except RuntimeError as error:
            for rank, each in enumerate(others, start=1):
                each.join(timeout=5)
                if each.exitcode:
                    raise UserError(_ended(Path(name), rank, size, each.exitcode)) from error
            raise
        finally:
            torch.set_num_threads(threads)
            for each in others:  # they have nothing to save
                each.kill()
                each.join()
            if distributed.is_initialized():
                distributed.destroy_process_group()


def _join(folder: Path, rank: int, size: int) -> None:
    """The processes find each other by a file, and talk through the machine itself."""
    local = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "")
    if local:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", local)
    distributed.init_process_group(
        "gloo",
        init_method=(folder / "meeting").as_uri(),
        rank=rank,
        world_size=size,
        timeout=launched.LONGEST_WAIT,
    )


def _help(
    folder: Path,
    rank: int,
    size: int,
    threads: int,
    work: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    """Of another process. What it prints the first prints too, so it goes to a file."""
    with (folder / LOG.format(rank)).open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    torch.set_num_threads(threads)
    _join(folder, rank, size)
    work(*arguments, Group(rank, size))


def _ended(folder: Path, rank: int, size: int, code: int) -> str:
    path = folder / LOG.format(rank)
    said = path.read_text(errors="replace").strip() if path.exists() else ""
    reason = said.splitlines()[-1] if said else f"exit code {code}"
    return (
        f"process {rank + 1} of {size} of this training ended ({reason}); what was saved is kept: "
        "run the same command again, or without --devices."
    )
