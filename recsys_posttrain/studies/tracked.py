"""What a study tells the mirror while it runs: which policies it trains, where, and of a grid what
each of them is worth on validation targets."""

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from recsys_posttrain.files import read_parquet
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.studies.rules import validation_means
from recsys_posttrain.tracking.curves import planned, write_plan
from recsys_posttrain.tracking.mirror import track


class Tracked:
    """folder: of the study. stages: the folder of all stages. rule: by which a grid chooses."""

    def __init__(self, folder: Path, stages: Path, scale: RewardScale, rule: str) -> None:
        self.folder = folder
        self.stages = stages
        self.scale = scale
        self.rule = rule
        self.runs: list[dict[str, Any]] = []

    def add(self, runs: list[dict[str, Any]]) -> None:
        """Of those that are trained next (Stages.planned); a grid grows. What an earlier attempt
        knew of their worth stays: a thousand rows are not read again before the study goes on."""
        known = {run.get("rows"): run.get("means") for run in planned(self.folder)}
        for run in runs:
            if means := known.get(run.get("rows")):
                run |= self._valued(means)
        self.runs += runs
        write_plan(self.folder, self.runs)

    def look(self) -> None:
        """Mirrors what is new. Raises nothing: it is called aside of the study."""
        self.refresh()
        track(self.folder)

    def refresh(self) -> None:
        """Writes what policies are worth whose rows came since the last time; each is read once,
        before it is mirrored, so that it is mirrored once. Raises nothing: the rows themselves are
        checked where the study reads them."""
        with suppress(Exception):
            if [run for run in self.runs if "rows" in run and self._is_valued(run)]:
                write_plan(self.folder, self.runs)

    def _is_valued(self, run: dict[str, Any]) -> bool:
        """Whether its rows are new."""
        file = self.stages / run["rows"] / "rows.parquet"
        if "values" in run or not file.exists():
            return False
        run |= self._valued(validation_means(read_parquet(file), self.scale))
        return True

    def _valued(self, means: Mapping[str, float]) -> dict[str, Any]:
        """means: by rule."""
        found = {name: mean for name, mean in means.items() if math.isfinite(mean)}
        values = {f"validation/{name}": mean for name, mean in found.items()}
        if self.rule in found:
            values["value"] = found[self.rule]
        return {"means": found, "values": values}
