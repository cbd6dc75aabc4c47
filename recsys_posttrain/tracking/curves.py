"""The curves of a study's trainings, also of those that still run or were killed.

A study writes first which runs it has, and in which stage each is trained (a sweep says it of its
trials in their table); a training writes its log while it runs (training/metrics_log.py). Both are
read here, and nothing else.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import fmean
from threading import Event, Thread
from typing import Any

from recsys_posttrain.errors import UserError
from recsys_posttrain.files import read_json, write_json
from recsys_posttrain.plan import METRICS
from recsys_posttrain.store import partial_of

PLAN = "plan.json"  # of the runs of a study, in its folder
TRIAL = "trial"  # the kind of a run among which a grid chooses
PREFIX = "train/"
STEP = f"{PREFIX}step"
COMPLETE = "complete"  # the state of a training whose stage is there, which stays as it is
SECONDS = 60.0  # between two looks at a study that runs
SECONDS_TO_END = 30.0


def write_plan(folder: Path, runs: list[dict[str, Any]]) -> None:
    """runs: of each method and seed `name`, `seed`, `stage` (the name of its folder), `config`; of
    a grid also `kind` (TRIAL) and, once they are known, `values`: what it is worth."""
    write_json(folder / PLAN, {"runs": runs})


def planned(folder: Path) -> list[dict[str, Any]]:
    """What `write_plan` wrote; nothing where there is none, or a damaged one."""
    with suppress(UserError, KeyError, TypeError, AttributeError):
        return [dict(run) for run in read_json(folder / PLAN)["runs"]]
    return []


def curve(folder: Path, stages: Sequence[str]) -> list[dict[str, float]]:
    """What these trainings of the study have logged so far, by step; as `train/...` of W&B. Several
    are a trial with as many seeds: means over those that have come to a step."""
    by_step: dict[float, dict[str, list[float]]] = {}
    for stage in stages:
        for step, values in _logged(folder.parent / "stages" / stage).items():
            for name, value in values.items():
                by_step.setdefault(step, {}).setdefault(name, []).append(value)
    return [
        {f"{PREFIX}{name}": fmean(values) for name, values in by_step[step].items()}
        for step in sorted(by_step)
    ]


def _logged(complete: Path) -> dict[float, dict[str, float]]:
    """By step, what is a number."""
    by_step: dict[float, dict[str, float]] = {}
    for place in (complete, partial_of(complete)):
        with suppress(OSError):
            for line in (place / METRICS).read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):  # the last line may end in its middle
                    values = json.loads(line)
                    known = {name: value for name, value in values.items() if value == value}
                    by_step.setdefault(values["step"], {}).update(known)
            break
    return by_step


def state(folder: Path, stages: Sequence[str]) -> list[Any]:
    """What changes when their curve does, without reading it: a study may have a thousand, and is
    looked at every minute. Empty where no training has begun."""
    found: list[Any] = []
    for stage in stages:
        complete = folder.parent / "stages" / stage
        if complete.exists():
            found.append(COMPLETE)
            continue
        with suppress(OSError):
            log = (partial_of(complete) / METRICS).stat()
            found += [[log.st_size, log.st_mtime_ns]] if log.st_size else []
    return found


def has_ended(seen: Sequence[Any]) -> bool:
    """Whether a curve in this state will not change. One of nothing will not."""
    return all(each == COMPLETE for each in seen)


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
