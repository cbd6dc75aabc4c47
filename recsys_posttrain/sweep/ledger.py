"""What of a sweep is done, running and waiting, as its storage knows it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from recsys_posttrain.config import describe, digest
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.sweep.definition import Cell, Sweep
from recsys_posttrain.sweep.slots import SECONDS, Slots
from recsys_posttrain.sweep.space import Setting


class CellState(NamedTuple):
    """trials, finals: the outcomes there are. setting: the chosen one; None before tuning ends, or
    where no trial completed. seconds: of each outcome."""

    cell: Cell
    trials: tuple[FrozenTrial, ...]
    finals: tuple[FrozenTrial, ...]
    setting: Setting | None
    is_done: bool

    @property
    def seconds(self) -> list[float]:
        return [trial.user_attrs[SECONDS] for trial in (*self.trials, *self.finals)]

    @property
    def failed(self) -> int:
        return self._count(TrialState.FAIL)

    @property
    def pruned(self) -> int:
        return self._count(TrialState.PRUNED)

    def _count(self, state: TrialState) -> int:
        return sum(trial.state == state for trial in (*self.trials, *self.finals))


@dataclass(frozen=True, eq=False)
class Ledger:
    """name: of the sweep, before all that it keeps in the storage. lock: see Slots."""

    sweep: Sweep
    name: str
    pipeline: Pipeline
    storage: RDBStorage
    lock: Path | None
    _known: dict[str, Slots] = field(default_factory=dict)

    @cached_property
    def keys(self) -> dict[str, str]:
        """Of each cell what its trials depend on: the code, data and configuration behind its runs,
        and how they are chosen."""
        sweep, stages = self.sweep, self.pipeline.keys
        scale, found = stages.scale, {}
        thresholds = [scale.liked, scale.top, scale.disliked]
        for cell in sweep.cells:
            runs = [cell.run({}, seed) for seed in sweep.tuning_seeds]
            key = {
                "trained": [stages.posttrain(run).folder.name for run in runs],
                "rows": [stages.rows(None, "validation", run.noise).folder.name for run in runs],
                "space": cell.method.space,
                "chosen by": [sweep.metric, sweep.over, sweep.seed, sweep.pruning, thresholds],
            }
            found[cell.label] = digest(key, 8)
        return found

    def tuning(self, cell: Cell) -> Slots:
        name = f"{self.name}/{cell.label}/{self.keys[cell.label]}"
        return self._slots_of(name, tuple(range(self.sweep.trials)))

    def final(self, cell: Cell, setting: Setting) -> Slots:
        """The chosen setting with fresh seeds; slots are seeds."""
        key = digest([self.keys[cell.label], describe(setting)], 8)
        name = f"{self.name}/{cell.label}/final-{key}"
        return self._slots_of(name, self.sweep.seeds)

    def _slots_of(self, name: str, numbers: tuple[int, ...]) -> Slots:
        if name not in self._known:
            self._known[name] = Slots(name, numbers, self.storage, self.lock)
        return self._known[name]

    def state(self, cell: Cell) -> CellState:
        trials = tuple(self.tuning(cell).outcomes().values())
        if len(trials) < self.sweep.trials:
            return CellState(cell, trials, (), None, False)
        setting = chosen(trials)
        if setting is None:
            return CellState(cell, trials, (), None, True)
        finals = tuple(self.final(cell, setting).outcomes().values())
        return CellState(cell, trials, finals, setting, len(finals) == len(self.sweep.seeds))

    def queues(self) -> Iterator[Slots]:
        """Those there are so far."""
        for cell in self.sweep.cells:
            yield self.tuning(cell)
            if (setting := self.state(cell).setting) is not None:
                yield self.final(cell, setting)


def chosen(trials: tuple[FrozenTrial, ...]) -> Setting | None:
    """Of the complete trial with the highest value, the earliest of equals."""
    values = [trial.value for trial in trials if trial.value is not None]
    best = next((trial for trial in trials if values and trial.value == max(values)), None)
    return None if best is None else dict(best.params)
