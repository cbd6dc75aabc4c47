"""Processes that torchrun started, on one machine or several, share the trainings of a command.

    torchrun --nnodes 2 --node-rank 0 --master-addr first-machine --master-port 29500 \\
        --nproc-per-node 8 -m -- recsys_posttrain run movielens_main --dataset ml-1m

The first process does what the command says. The others wait for its trainings and help: it gives
them data, plan and weights, so that they need no file of it. They end with it.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from torch import distributed

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.provenance import check_same, package_code, package_versions
from recsys_posttrain.training.group import ALONE, Group

LONGEST_WAIT = timedelta(days=1)  # for the first process, while it does other things than train


def by_torchrun() -> Group:
    """The processes that torchrun started, seen from this one; ALONE without it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ALONE
    return Group(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def devices_of(given: int) -> int:
    """How many processes share a training. given: --devices, 1 where it was left out.

    Raises: UserError where torchrun started another number.
    """
    group = by_torchrun()
    if group.size == 1:
        return given
    require(
        given in (1, group.size),
        f"--devices {given}: torchrun started {group.size} processes; leave --devices out.",
    )
    return group.size


def led(command: Callable[[], object]) -> None:
    """Runs the command; of several processes of torchrun in the first one, while the others help,
    whatever the command is.

    Raises: UserError where another process ended, or has other packages.
    """
    group = by_torchrun()
    if group.size == 1:
        command()
        return
    if not group.is_first:  # it has nothing to save
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
    distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    _check_packages(group)
    if group.is_first:
        try:
            try:
                command()
            except SystemExit as end:  # as every command of the console script ends
                if end.code:
                    raise
            group.given(None)
        except RuntimeError as error:
            if "gloo" not in str(error):
                raise
            raise UserError(
                f"one of the {group.size} processes of this training ended, or is not reached any "
                "more; torchrun says which. What was saved is kept: start the same again."
            ) from error
    else:
        while (task := group.given(None)) is not None:
            work, arguments = task
            work(*arguments, group)
    distributed.destroy_process_group()


@contextmanager
def helped(size: int, work: Callable[..., object], arguments: tuple[Any, ...]) -> Iterator[Group]:
    """A block in which the others, which wait in `led`, run work(*arguments, group)."""
    group = by_torchrun()
    require(
        size == group.size and group.is_first and distributed.is_initialized(),
        f"devices={size}: torchrun starts {group.size} processes for the command `recsys-posttrain "
        "run`; in Python leave torchrun out.",
    )
    group.given((work, arguments))
    yield group


def _check_packages(group: Group) -> None:
    """Raises: UserError where this process's are not those of the first."""
    versions, code = group.given((package_versions(), package_code()))
    check_same(versions, code, os.uname().nodename, "the first process")
