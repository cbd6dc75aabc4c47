"""How like another log a study's is: its catalogue, its density, and the quality of its reward
model; never its name."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from recsys_posttrain.report.study_folder import StudyFolder


class Log(NamedTuple):
    """density: the share of all pairs of user and item that the log holds."""

    items: int
    density: float

    @property
    def line(self) -> str:
        return f"{self.items:,} items, density {self.density:.2g}"


def log_in(record: Mapping[str, Any]) -> Log | None:
    """That of a run.json; None of an old one, which does not say it."""
    counts = [record.get(name) for name in ("num_items", "users", "events")]
    if not all(isinstance(count, int) and count > 0 for count in counts):
        return None
    items, users, events = (int(str(count)) for count in counts)
    return Log(items, events / (users * items))


def logs_of(records: Iterable[Mapping[str, Any]]) -> dict[str, Log]:
    """By dataset, of the first record that says it: an old one has its log from a newer one."""
    found: dict[str, Log] = {}
    for record in records:
        log = log_in(record)
        if log is not None and record.get("dataset"):
            found.setdefault(str(record["dataset"]), log)
    return found


def distance(one: Log | None, other: Log | None) -> float:
    """In powers of 10, of catalogue and density together; inf where one is not known."""
    if one is None or other is None:
        return math.inf
    return abs(math.log10(one.items / other.items)) + abs(math.log10(one.density / other.density))


def clean_accuracy(study: StudyFolder) -> tuple[float, float] | None:
    """The 95% interval of the pairwise accuracy of the study's reward model, the last row of its
    table; None where there is none."""
    sheet = study.sheet("reward_models")
    if sheet is None:
        return None
    block = sheet.blocks[0]
    names = [column.name for column in block.columns]
    if "pairwise accuracy" not in names:
        return None
    text = block.rows[-1][names.index("pairwise accuracy")].interval
    ends = [float(each) for each in re.findall(r"-?\d*\.\d+", text)]
    return (ends[0], ends[1]) if len(ends) == 2 else None
