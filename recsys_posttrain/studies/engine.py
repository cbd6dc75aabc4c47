"""Who does the work of a study or a sweep: processes of this machine, or Ray's (on_ray.py)."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from recsys_posttrain.config import require
from recsys_posttrain.studies.parallel import answered

Task = TypeVar("Task")
Result = TypeVar("Result")


class Engine(Protocol):
    def workers(self, asked: int | None, device: str, usual: int) -> int:
        """How many work at a time. usual: where none were asked for.

        Raises: UserError for what cannot be.
        """

    def is_here(self, workers: int) -> bool:
        """Whether this process does the work itself, with all its threads."""

    def answered(
        self,
        work: Callable[[Task], Result],
        tasks: Iterable[Task | None],
        workers: int,
        log: Path,
    ) -> Generator[tuple[Task, Result], None, None]:
        """As parallel.answered."""


@dataclass(frozen=True)
class Processes:
    """Of one thread each; a single one is this process."""

    def workers(self, asked: int | None, device: str, usual: int) -> int:
        """Raises: UserError for fewer than 1, or several that would share a device."""
        check_asked(asked)
        require(
            device == "cpu" or asked in (None, 1),
            f"--workers {asked}: only one process can use --device {device}; leave --workers out, "
            "or give each its own with --engine ray.",
        )
        return 1 if device != "cpu" else asked or usual

    def is_here(self, workers: int) -> bool:
        return workers == 1

    def answered(
        self,
        work: Callable[[Task], Result],
        tasks: Iterable[Task | None],
        workers: int,
        log: Path,
    ) -> Generator[tuple[Task, Result], None, None]:
        return answered(work, tasks, workers, log)


def check_asked(workers: int | None) -> None:
    """Raises: UserError for fewer than 1."""
    require(workers is None or workers >= 1, f"--workers {workers}: give at least 1.")
