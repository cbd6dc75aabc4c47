"""What training returns beside the model."""

import json
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from recsys_posttrain.data.notes import note

if TYPE_CHECKING:
    import pandas as pd

KEPT = "pairs/kept"  # in metrics.jsonl, of methods that learn from pairs (algorithms/margin.py)
FEW = 0.05  # of positions: pairs too few to stand for the log


@dataclass(frozen=True)
class Fitted:
    """How long a model was trained, and what was logged meanwhile."""

    steps: int  # optimiser steps taken
    # After which its weights were kept: the best with a patience, the last within the bounds with a
    # guard that stops, otherwise the last.
    best_step: int
    best_value: float | None  # of the monitored metric at best_step; None without a patience
    lines: tuple[str, ...] = field(default=(), repr=False, compare=False)  # of metrics.jsonl
    guard: str = ""  # which bound was passed, and what was done; empty: none

    @property
    def kept(self) -> float | None:
        """The share of positions whose pair counts, a mean over the steps that were logged; None
        of a method without pairs."""
        shares = [line[KEPT] for line in map(json.loads, self.lines) if KEPT in line]
        return fmean(shares) if shares else None

    @property
    def record(self) -> dict[str, Any]:
        """What a stage keeps of it, beside metrics.jsonl."""
        names = "steps", "best_step", "best_value", "guard"
        found = {name: getattr(self, name) for name in names}
        kept = self.kept
        return found if kept is None else {**found, "kept": kept}

    def note_few_pairs(self, method: str) -> None:
        """One line where a method that learns from pairs kept hardly any."""
        kept = self.kept
        if kept is not None and kept < FEW:
            note(
                f"{method} learned from {kept:.2%} of the positions: elsewhere the reward model is "
                "not sure enough which item of the pair is better; a smaller width keeps "
                "more (--set algorithm.pairs.width=0.5)"
            )

    @property
    def history(self) -> "pd.DataFrame":
        """One row per step that was logged: the loss, the metrics of the method, and those of
        validation, NaN where a step has none."""
        import pandas as pd

        rows = pd.DataFrame([json.loads(line) for line in self.lines] or {"step": []})
        return rows.groupby("step", sort=True).first()
