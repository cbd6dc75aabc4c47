"""What training returns beside the model."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


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
    def record(self) -> dict[str, Any]:
        """What a stage keeps of it, beside metrics.jsonl."""
        kept = "steps", "best_step", "best_value", "guard"
        return {name: getattr(self, name) for name in kept}

    @property
    def history(self) -> "pd.DataFrame":
        """One row per step that was logged: the loss, the metrics of the method, and those of
        validation, NaN where a step has none."""
        import pandas as pd

        rows = pd.DataFrame([json.loads(line) for line in self.lines] or {"step": []})
        return rows.groupby("step", sort=True).first()
