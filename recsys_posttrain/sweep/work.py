"""One worker: takes the next slot of any cell until none is left."""

import os
import socket
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

from optuna.trial import FrozenTrial, TrialState

from recsys_posttrain.errors import TrainingFailed
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.sweep.definition import Cell
from recsys_posttrain.sweep.ledger import Ledger
from recsys_posttrain.sweep.objective import final_value, tuning_pipeline, tuning_value
from recsys_posttrain.sweep.proposal import distributions, propose
from recsys_posttrain.sweep.pruning import Pruned, Pruning
from recsys_posttrain.sweep.slots import SLOT, Slots
from recsys_posttrain.sweep.space import Setting
from recsys_posttrain.sweep.storage import heartbeat

SECONDS_BETWEEN_LOOKS = 1.0  # while other workers have all that is left


class Job(NamedTuple):
    """A claimed attempt. setting: what is tried. seed: of a final run; None while tuning.
    known: of the other slots, their outcomes and running attempts."""

    cell: Cell
    slots: Slots
    trial: FrozenTrial
    setting: Setting
    seed: int | None
    known: list[FrozenTrial]


def worker_name(pid: int | None = None) -> str:
    return f"{socket.gethostname()}:{os.getpid() if pid is None else pid}"


@dataclass(eq=False)
class Worker:
    """log: a file for what training prints. on_job: called after each."""

    ledger: Ledger
    log: Path
    on_job: Callable[[], None] = lambda: None
    _done: set[str] = field(default_factory=set)

    @cached_property
    def _tuning(self) -> Pipeline:
        shared = self.ledger.pipeline
        return tuning_pipeline(shared.setup, shared.root, shared.device)

    def work(self) -> None:
        """Returns when every slot of the sweep has its outcome, also those of other workers."""
        while True:
            job = self._next()
            if job is not None:
                self._do(job)
                self.on_job()
            elif len(self._done) == len(self.ledger.sweep.cells):
                return
            else:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                for slots in self.ledger.queues():
                    slots.requeue_stale()
                self.on_job()

    def _next(self) -> Job | None:
        """Of the first cell that has one: its next trial, or a run of its chosen setting."""
        for cell in self.ledger.sweep.cells:
            if cell.label in self._done:
                continue
            if (job := self._trial(cell)) is not None:
                return job
            state = self.ledger.state(cell)
            if state.is_done:
                self._done.add(cell.label)
            elif state.setting is not None:
                slots = self.ledger.final(cell, state.setting)
                if (claim := slots.claim(worker_name())) is not None:
                    slots.keep_setting(claim[0], state.setting, distributions(cell.method.space))
                    seed = claim[0].user_attrs[SLOT]
                    return Job(cell, slots, claim[0], state.setting, seed, claim[1])
        return None

    def _trial(self, cell: Cell) -> Job | None:
        slots = self.ledger.tuning(cell)
        claim = slots.claim(worker_name())
        if claim is None:
            return None
        trial, known = claim
        space, slot = cell.method.space, trial.user_attrs[SLOT]
        setting = dict(trial.params)  # of an attempt that follows one whose worker died
        if setting.keys() != space.keys():
            sweep_seed = self.ledger.sweep.seed
            setting = propose(space, known, derived_seed(sweep_seed, cell.label, slot))
            slots.keep_setting(trial, setting, distributions(space))
        return Job(cell, slots, trial, setting, None, known)

    def _do(self, job: Job) -> None:
        sweep, began = self.ledger.sweep, time.monotonic()
        try:
            with (
                heartbeat(self.ledger.storage, job.trial._trial_id),
                self.log.open("a", encoding="utf-8") as log,
                redirect_stderr(log),  # Lightning's progress bar is for a terminal
            ):
                if job.seed is None:
                    keep = partial(job.slots.keep_validation, job.trial)
                    pruning = Pruning(sweep, job.known, keep)
                    value = tuning_value(self._tuning, sweep, job.cell, job.setting, pruning)
                else:
                    pipeline = self.ledger.pipeline
                    value = final_value(pipeline, sweep, job.cell, job.setting, job.seed)
        except (TrainingFailed, Pruned) as reason:
            state = TrialState.PRUNED if isinstance(reason, Pruned) else TrialState.FAIL
            job.slots.finish(job.trial, time.monotonic() - began, state, reason=str(reason))
        except BaseException:
            # Not the setting's fault: an interrupt, a full disk, a mistake of ours.
            job.slots.requeue(lambda trial: trial._trial_id == job.trial._trial_id)
            raise
        else:
            job.slots.finish(job.trial, time.monotonic() - began, TrialState.COMPLETE, value)
