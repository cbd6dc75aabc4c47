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
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from recsys_posttrain.config import require
from recsys_posttrain.data.batching import Part
from recsys_posttrain.errors import UserError
from recsys_posttrain.ops.softmax import masked_mean
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import LossOutput

LONGEST_WAIT = timedelta(days=1)  # for the first process, while it validates
LOG = "process-{}.log"
MOST_DEVICES = 256


@dataclass(frozen=True)
class Group:
    """The processes of a training, seen from one of them. rank: 0 is the first."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @cached_property
    def _idle_steps(self) -> set[int]:
        """Those whose batch is not for this process: it has fewer sequences than processes."""
        return set()

    @property
    def part(self) -> Part | None:
        """Which sequences of a batch are for this process; None: all."""
        return None if self.size == 1 else self._part

    def _part(self, length_B: Tensor, step: int) -> Tensor:
        """Of all lengths alike. Where there is none, another one stands in."""
        order_B = length_B.argsort(descending=True, stable=True)
        if self.rank < len(order_B):
            return order_B[self.rank :: self.size]
        self._idle_steps.add(step)
        return order_B[-1:]

    def own_seed(self, seed: int) -> int:
        """Of what each process draws for itself; the first one's is that of one process alone."""
        return seed if self.is_first else derived_seed(seed, "process", self.rank)

    def mean(self, output: LossOutput, step: int) -> tuple[Tensor, Tensor]:
        """The mean loss over the positions of the whole batch, and the part of it that these are,
        with a gradient."""
        if self.size == 1:
            mean = masked_mean(output.loss_N, output.counted_N)
            return mean, mean
        counted_N = torch.ones_like(output.loss_N, dtype=torch.bool)
        if output.counted_N is not None:
            counted_N = output.counted_N
        if step in self._idle_steps:
            counted_N = torch.zeros_like(counted_N)
        total = torch.where(counted_N, output.loss_N, 0).sum()
        sums = self.sum(torch.stack([total.detach(), counted_N.sum()]))
        count = sums[1].clamp(min=1)
        return sums[0] / count, total / count

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
