"""The log of a training: in memory, on disk while it runs, and to a logger of Lightning's."""

import json
from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.loggers import Logger

from recsys_posttrain.files import write_text
from recsys_posttrain.plan import METRICS


class MetricsLog:
    """One JSON object per line, with the step. folder: of the file; None: there is none."""

    def __init__(self, folder: Path | None, logger: Logger | None = None) -> None:
        self.path = None if folder is None else folder / METRICS
        self.logger = logger
        self.lines: list[str] = []

    def begin(self, lines: list[str]) -> None:
        """With these, of the attempt that a checkpoint continues; a later line is lost with it."""
        self.lines = lines
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, "".join(f"{line}\n" for line in lines))

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        self.lines.append(json.dumps({"step": step, **metrics}))
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{self.lines[-1]}\n")
        if self.logger is not None:
            self.logger.log_metrics(dict(metrics), step)
