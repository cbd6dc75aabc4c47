"""The curves of a study's trainings, also of those that still run or were killed.

A study writes first which runs it has, and in which stage each is trained; a training writes its
log while it runs (training/metrics_log.py). Both are read here, and nothing else.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from recsys_posttrain.errors import UserError
from recsys_posttrain.files import read_json, write_json
from recsys_posttrain.plan import METRICS
from recsys_posttrain.store import partial_of

PLAN = "plan.json"  # of the runs of a study, in its folder
PREFIX = "train/"
STEP = f"{PREFIX}step"
SECONDS = 60.0  # between two looks at a study that runs
SECONDS_TO_END = 30.0


def write_plan(folder: Path, runs: list[dict[str, Any]]) -> None:
    """runs: of each method and seed `name`, `seed`, `stage` (the name of its folder), `config`."""
    write_json(folder / PLAN, {"runs": runs})


def planned(folder: Path) -> list[dict[str, Any]]:
    """What `write_plan` wrote; nothing where there is none, or a damaged one."""
    with suppress(UserError, KeyError, TypeError, AttributeError):
        return [dict(run) for run in read_json(folder / PLAN)["runs"]]
    return []


def curve(folder: Path, stage: str) -> list[dict[str, float]]:
    """What a training of the study has logged so far, by step; as `train/...` of W&B."""
    complete = folder.parent / "stages" / stage
    by_step: dict[float, dict[str, float]] = {}
    for place in (complete, partial_of(complete)):
        with suppress(OSError):
            for line in (place / METRICS).read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):  # the last line may end in its middle
                    values = json.loads(line)
                    by_step.setdefault(values["step"], {}).update(values)
            break
    return [_of_training(values) for values in by_step.values()]


def _of_training(values: Mapping[str, float]) -> dict[str, float]:
    return {f"{PREFIX}{name}": value for name, value in values.items() if value == value}


@contextmanager
def streamed(look: Callable[[], object]) -> Iterator[None]:
    """Calls `look`, which raises nothing, in another thread every now and then while the block
    runs."""
    is_over = Event()

    def watch() -> None:
        while not is_over.wait(SECONDS):
            look()

    watching = Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        is_over.set()
        watching.join(SECONDS_TO_END)
