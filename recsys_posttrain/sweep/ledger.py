"""What of a sweep is done, running and waiting, as its storage knows it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from recsys_posttrain.config import describe, digest
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.sweep.definition import Cell, Sweep
from recsys_posttrain.sweep.objective import Objective
from recsys_posttrain.sweep.queue import SLOT, Queue
from recsys_posttrain.sweep.space import Setting


class CellState(NamedTuple):
    """trials, finals: the outcomes there are. setting: the chosen one; None before tuning ends,
    where no trial completed, or where the pretrained policy is as good. nothing: what that is worth
    on the trials' targets, where tuning has ended. left: how many outcomes are missing."""

    cell: Cell
    trials: tuple[FrozenTrial, ...]
    finals: tuple[FrozenTrial, ...]
    setting: Setting | None
    left: int
    nothing: float | None = None

    @property
    def does_nothing(self) -> bool:
        return self.setting is None and self.nothing is not None


class Job(NamedTuple):
    """A claimed attempt, as a worker is told of it. cell: its label. queue: its name. setting: what
    is tried. seed: of a final run; None of a trial."""

    cell: str
    queue: str
    trial: FrozenTrial
    setting: Setting
    seed: int | None


@dataclass(frozen=True, eq=False)
class Ledger:
    """name: of the sweep, before all that it keeps in the storage. lock: see Queue."""

    sweep: Sweep
    name: str
    objective: Objective
    storage: RDBStorage
    lock: Path | None
    _queues: dict[str, Queue] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)

    def trials(self, cell: Cell) -> Queue:
        name = f"{cell.label}/{self._key(cell)}"
        return self._queue(name, tuple(range(cell.trials)))

    def finals(self, cell: Cell, setting: Setting) -> Queue:
        """The chosen setting with fresh seeds; slots are seeds."""
        key = digest([self._key(cell), describe(setting)], 8)
        return self._queue(f"{cell.label}/final-{key}", self.sweep.seeds)

    def _key(self, cell: Cell) -> str:
        if cell.label not in self._keys:
            self._keys[cell.label] = self.objective.key(cell)
        return self._keys[cell.label]

    def _queue(self, of: str, numbers: tuple[int, ...]) -> Queue:
        name = f"{self.name}/{of}"
        if name not in self._queues:
            self._queues[name] = Queue(name, numbers, self.storage, self.lock)
        return self._queues[name]

    def queue_of(self, job: Job) -> Queue:
        return self._queues[job.queue]

    def state(self, cell: Cell) -> CellState:
        trials = tuple(self.trials(cell).outcomes().values())
        seeds = len(self.sweep.seeds)
        if len(trials) < cell.trials:
            return CellState(cell, trials, (), None, cell.trials - len(trials) + seeds)
        best = max((t.value for t in trials if t.value is not None), default=None)
        if best is None:
            return CellState(cell, trials, (), None, 0)
        nothing = self.objective.nothing(cell)
        if nothing >= best:
            return CellState(cell, trials, (), None, 0, nothing)
        setting = next(dict(trial.params) for trial in trials if trial.value == best)
        finals = tuple(self.finals(cell, setting).outcomes().values())
        return CellState(cell, trials, finals, setting, seeds - len(finals), nothing)

    def states(self) -> list[CellState]:
        return [self.state(cell) for cell in self.sweep.cells]

    def queues(self) -> Iterator[Queue]:
        """Those there are so far."""
        for state in self.states():
            yield self.trials(state.cell)
            if state.setting is not None:
                yield self.finals(state.cell, state.setting)

    def jobs(self) -> Iterator[Job | None]:
        """Claims the next slot when asked; None where others have all that is left. Ends when every
        slot of the sweep has its outcome."""
        done: set[str] = set()
        while True:
            job = self._next(done)
            if job is None:
                if len(done) == len(self.sweep.cells):
                    return
                for queue in self.queues():
                    queue.requeue_stale()
            yield job

    def _next(self, done: set[str]) -> Job | None:
        """Of the first cell that has one: its next trial, or a run of its chosen setting."""
        for cell in self.sweep.cells:
            if cell.label in done:
                continue
            queue = self.trials(cell)
            if (claim := queue.claim()) is not None:
                setting = self._setting(cell, *claim)
                return Job(cell.label, queue.name, claim[0], setting, None)
            state = self.state(cell)
            if not state.left:
                done.add(cell.label)
            elif state.setting is not None:
                queue = self.finals(cell, state.setting)
                if (claim := queue.claim()) is not None:
                    queue.keep_setting(claim[0], state.setting, cell.method.space)
                    seed = claim[0].user_attrs[SLOT]
                    return Job(cell.label, queue.name, claim[0], state.setting, seed)
        return None

    def _setting(self, cell: Cell, trial: FrozenTrial, known: list[FrozenTrial]) -> Setting:
        """Of an attempt that follows one whose worker died: as it was."""
        if trial.params.keys() == cell.method.space.keys():
            return dict(trial.params)
        sweep, slot = self.sweep, trial.user_attrs[SLOT]
        seed = derived_seed(sweep.seed, cell.label, slot)
        setting = sweep.sampler.propose(cell.method.space, slot, known, seed)
        self.trials(cell).keep_setting(trial, setting, cell.method.space)
        return setting
