"""Reads what fleets write (fleet.py) while they write it."""

import json
from pathlib import Path

import numpy as np

from live.device import Shown
from live.measure import Floats

_GRID_SECONDS = 0.1


class FleetLog:
    """The log of one fleet, whose clock is `clock` seconds off: here all times are right."""

    def __init__(self, path: Path, users: list[str], clock: float) -> None:
        self.shown: dict[str, list[Shown]] = {user: [] for user in users}
        self.at: list[float] = []
        self.counters: list[dict[str, int]] = []
        self.clock, self._path = clock, path
        self._place = 0

    def read(self) -> None:
        """Takes in the lines that are new and whole."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._place)
            lines, _, _ = file.read().rpartition(b"\n")
        self._place += len(lines) + 1 if lines else 0
        for line in lines.splitlines():
            entry = json.loads(line)
            if "user" in entry:
                at, version, stage, items = entry["shown"]
                shown = Shown(at - self.clock, version, stage, tuple(items))
                self.shown[entry["user"]].append(shown)
            else:
                self.at.append(entry["at"] - self.clock)
                self.counters.append(entry["counters"])

    def count(self, *names: str) -> int:
        """The newest sum of counters."""
        return sum(self.counters[-1].get(name, 0) for name in names) if self.counters else 0

    def counts(self, at: Floats, *names: str) -> Floats:
        """The sum of counters at each moment, 0 before the first look."""
        counted = [sum(each.get(name, 0) for name in names) for each in self.counters]
        return np.interp(at, self.at, counted, left=0) if self.at else np.zeros_like(at)


def counts(logs: list[FleetLog], began: float, ended: float, *names: str) -> tuple[Floats, Floats]:
    """(moments between the two, by how much counters of all fleets had grown since the first)."""
    at = np.arange(began, max(ended, began + _GRID_SECONDS), _GRID_SECONDS)
    count = np.sum([log.counts(at, *names) for log in logs], axis=0)
    return at, count - count[0]
