"""One side of the comparison: answers requests on stdin with lines of JSON on stdout.

A side is a script `with_<library>.py LOG THREADS` that calls `serve` with a function that builds
its `Side`. It runs in the interpreter that has the library and imports nothing else of ours, so
that both environments can hold it. Requests: `train STEPS`, `recommend`, `quit`. The first line it
writes says that it is ready, or why it is not.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

WIDTH, BLOCKS, HEADS, LENGTH, BATCH_SIZE, DROPOUT, TOP = 64, 2, 1, 200, 128, 0.1, 10


@dataclass(frozen=True)
class Log:
    """The interactions that every side gets. Users are 0.., items 1..num_items, in time order:
    user n has items[offsets[n]:offsets[n + 1]]. histories: what came before each test target."""

    num_items: int
    train_items: np.ndarray
    train_offsets: np.ndarray
    history_items: np.ndarray
    history_offsets: np.ndarray

    def save(self, path: Path) -> None:
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "Log":
        with np.load(path) as arrays:
            named = {field.name: arrays[field.name] for field in fields(cls)}
        return cls(**named | {"num_items": int(named["num_items"])})


def users_of(offsets: np.ndarray) -> np.ndarray:
    """The user of each event."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


class Side(Protocol):
    """describe: facts for the record; `feed_forward` is needed for the floor. train: real events
    (targets that are no padding) of `steps` steps and their seconds, one step before them left out.
    recommend: seconds of the library's own call for all users, and of its core: states, scores,
    seen items removed, top 10, without making tables of the result."""

    def describe(self) -> dict[str, Any]: ...

    def train(self, steps: int) -> dict[str, float]: ...

    def recommend(self) -> dict[str, float]: ...


class StepClock:
    """Notes when each step ended and how many real events it had."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.events: list[int] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> "StepClock":
        return self  # a trainer is copied together with its callbacks, the clock is not

    def note(self, events: int) -> None:
        self.events.append(events)
        self.ends.append(time.perf_counter())

    def result(self) -> dict[str, float]:
        """From the end of the first step, which pays for the start, to the end of the last."""
        return {"events": sum(self.events[1:]), "seconds": self.ends[-1] - self.ends[0]}


def callback_of(base: type, clock: StepClock, events_of: Callable[[Any], int]) -> Any:
    """A Lightning callback (of either of Lightning's two names) that keeps the clock."""

    class Noting(base):  # type: ignore[misc]
        def on_train_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            clock.note(events_of(batch))

    return Noting()


def quiet_trainer(trainer: type, **options: Any) -> Any:
    """A Lightning trainer on one CPU device that only trains or predicts."""
    return trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}


def one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def serve(build: Callable[[Log], Side]) -> None:
    """Reads requests until stdin ends. Whatever else is printed goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        torch.set_num_threads(int(sys.argv[2]))
        side = build(Log.load(Path(sys.argv[1])))
        answer({"ready": side.describe()})
    except Exception as error:
        answer({"error": one_line(error)})
        return
    for line in sys.stdin:
        request, *arguments = line.split()
        if request == "quit":
            return
        try:
            answer(side.train(int(arguments[0])) if request == "train" else side.recommend())
        except Exception as error:
            answer({"error": one_line(error)})
