"""One training in several processes of one machine, each with its part of every batch.

Every process holds the whole model. In a step each computes the loss of its part, divided by the
positions of the whole batch, and gradients are summed over processes by torch.distributed (gloo).
So all take the step that one process would take, up to rounding and to what is drawn for each part,
such as dropout. The first process alone validates, logs and saves; its decisions hold for all.
"""

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError

START = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
LONGEST_WAIT = timedelta(days=1)  # for the first process, while it validates
LOG = "process-{}.log"


@dataclass(frozen=True)
class Group:
    """The processes of a training, seen from one of them. rank: 0 is the first."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def part(self) -> tuple[int, int]:
        return self.rank, self.size

    def sum(self, values: Tensor) -> Tensor:
        """Over all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        if self.size == 1:
            return
        gradients = [each.grad for each in parameters if each.grad is not None]
        flat = self.sum(torch.cat([each.flatten() for each in gradients]))
        for each, total in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            each.copy_(total.view_as(each))

    def as_first(self, flag: bool) -> bool:
        """What the first process says."""
        if self.size == 1:
            return flag
        said = torch.tensor(flag)
        distributed.broadcast(said, 0)
        return bool(said)

    def wait(self) -> None:
        """For all to come here."""
        if self.size > 1:
            distributed.barrier()


ALONE = Group()


@contextmanager
def helped(size: int, work: Callable[..., object], *arguments: Any) -> Iterator[Group]:
    """A block in which this process is the first of `size`; the others run work(*arguments, group)
    until it is over. The threads of this process are shared out.

    Raises: UserError where another process ends early, with what it said.
    """
    if size == 1:
        yield ALONE
        return
    require(
        not distributed.is_initialized(),
        "this program has a process group of torch.distributed already; leave --devices out.",
    )
    threads = torch.get_num_threads()
    context: Any = get_context(START)
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
            for each in others:
                each.start()
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
        timeout=LONGEST_WAIT,
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all: the first ends the others
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
