"""The schedule of an event: a JSON file that people change at any time, also by the commands here.

    {"event": "final", "stages": ["before", "live", "break", "after"],
     "starts": {"live": "2026-12-01T20:00:00+00:00", "break": "2026-12-01T20:45:00+00:00"},
     "ended": false}

The first stage holds until the first start. The last one has no start: an event ends when a person
says so, never by a timer.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import write_text
from recsys_posttrain.live.state import json_object, require_name
from recsys_posttrain.store import locked

_SCHEDULE_BYTES = 65_536
_FIELDS = {"event", "stages", "starts", "ended"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """When each stage starts, in seconds since 1970. Errors: UserError for one that cannot be."""

    event: str
    stages: tuple[str, ...]
    starts: Mapping[str, float]
    ended: bool = False

    def __post_init__(self) -> None:
        for name in (self.event, *self.stages):
            require_name(name, "a schedule's event and stages")
        require(
            len(set(self.stages)) == len(self.stages) >= 2,
            f"a schedule has two or more different stages, not {', '.join(self.stages)}",
        )
        between = self.stages[1:-1]
        require(
            tuple(self.starts) == between,
            f"a schedule's starts are of the stages between the first and the last, in their order "
            f"({', '.join(between)}), not of {', '.join(self.starts)}",
        )
        for (stage, start), (later, later_start) in pairwise(self.starts.items()):
            require(start <= later_start, f"stage {later} starts before {stage}: put it after")
        require(type(self.ended) is bool, "a schedule's ended is true or false")

    def stage_at(self, now: float) -> str:
        """The stage that holds at `now`."""
        if self.ended:
            return self.stages[-1]
        started = [stage for stage, start in self.starts.items() if start <= now]
        return started[-1] if started else self.stages[0]

    def advanced(self, stage: str, now: float) -> "Schedule":
        """`stage` starts now, and so do the ones before it that had not. UserError if it cannot."""
        require(
            stage in self.starts,
            f"stage {stage!r} cannot be started; choose one of {', '.join(self.starts)}",
        )
        names = list(self.starts)
        place = names.index(stage)
        for later in names[place + 1 :]:
            require(
                self.starts[later] > now,
                f"stage {stage!r} is over, {later!r} has started: give it a later start first",
            )
        until_then = {name: min(self.starts[name], now) for name in names[:place]}
        return replace(self, starts={**self.starts, **until_then, stage: now})

    def delayed(self, seconds: float, now: float) -> "Schedule":
        """Starts that are to come are `seconds` later; if negative, earlier, but not before now."""
        starts = {
            stage: start if start <= now else max(start + seconds, now)
            for stage, start in self.starts.items()
        }
        return replace(self, starts=starts)

    def finished(self) -> "Schedule":
        """The last stage holds."""
        return replace(self, ended=True)

    def write(self, path: Path) -> None:
        """Replaces the file, so that a reader sees the old schedule or the new one."""
        times = {stage: datetime.fromtimestamp(start, UTC) for stage, start in self.starts.items()}
        starts = {stage: time.isoformat() for stage, time in times.items()}
        value = {"event": self.event, "stages": self.stages, "starts": starts, "ended": self.ended}
        write_text(path, json.dumps(value, indent=2) + "\n")

    @classmethod
    def from_json(cls, text: bytes) -> "Schedule":
        """Reads a schedule. Errors: UserError that names what is wrong in it."""
        value = json_object(text, _SCHEDULE_BYTES, "the schedule", _FIELDS)
        stages, starts = value["stages"], value["starts"]
        require(isinstance(stages, list), "a schedule's stages are a list of names")
        require(isinstance(starts, dict), "a schedule's starts are an object: stage and time")
        times = {stage: _seconds(stage, time) for stage, time in starts.items()}
        return cls(value["event"], tuple(stages), times, value["ended"])


class ScheduleFile:
    """The newest good schedule of a file. Errors: UserError where the first is not good."""

    def __init__(self, path: Path) -> None:
        self.counters: Counter[str] = Counter()
        self._path = path
        self._text = _read(path)
        self._schedule = Schedule.from_json(self._text)
        self._complaint = ""

    def current(self) -> Schedule:
        """Reads a file that changed; one that is malformed is counted, and the last good holds."""
        try:
            text = _read(self._path)
            if text == self._text:
                return self._schedule
            self._text = text
            schedule = Schedule.from_json(text)
            require(
                schedule.event == self._schedule.event,
                f"the schedule's event became {schedule.event!r}: start another producer for it",
            )
        except UserError as error:
            if str(error) != self._complaint:
                self.counters["bad_schedules"] += 1
                _log.error("%s: %s; the last good schedule stays in force", self._path, error)
            self._complaint = str(error)
        else:
            self._complaint = ""
            self.counters["schedule_changes"] += 1
            self._schedule = schedule
        return self._schedule


def change(path: Path, changed: Callable[[Schedule], Schedule]) -> Schedule:
    """Replaces the schedule in a file by what `changed` returns; of two at once, one waits.

    Errors: UserError where it cannot be read, changed or written.
    """
    path = path.resolve()
    _read(path)  # before a lock is left where there is none
    try:
        with locked(path.with_name(f".{path.name}.lock")):
            schedule = changed(Schedule.from_json(_read(path)))
            schedule.write(path)
    except OSError as error:
        raise UserError(f"the schedule {path} cannot be changed ({error.strerror})") from None
    return schedule


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_SCHEDULE_BYTES + 1)
    except OSError as error:
        raise UserError(f"the schedule {path} cannot be read ({error.strerror})") from None


def _seconds(stage: str, time: Any) -> float:
    try:
        moment = datetime.fromisoformat(time)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UserError(
            f"the start of {stage!r:.40} is a time with its zone, such as "
            f"2026-12-01T20:00:00+00:00, not {time!r:.40}"
        )
    return moment.timestamp()
