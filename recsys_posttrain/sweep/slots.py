"""A queue of slots in a storage: each is done exactly once, whoever dies on the way.

A slot is a number, kept by Optuna as one trial or several: attempts. An attempt whose worker died
is failed without a reason and followed by a new one; the first that completes, or fails with a
reason, is the slot's outcome, and no other attempt of it begins.
"""

import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState, create_trial

from recsys_posttrain.store import locked

SLOT, WORKER, REASON, SECONDS = "slot", "worker", "reason", "seconds"
# Of an outcome.
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True, eq=False)
class Slots:
    """numbers: the slots, done in this order. lock: a file, where the storage itself cannot keep
    two processes from claiming one trial (SQLite); None where it can."""

    name: str
    numbers: tuple[int, ...]
    storage: RDBStorage
    lock: Path | None

    @cached_property
    def study(self) -> optuna.Study:
        """Read once; of its trials Optuna remembers the finished ones."""
        return optuna.create_study(
            storage=self.storage, study_name=self.name, direction="maximize", load_if_exists=True
        )

    def attempts(self) -> dict[int, list[FrozenTrial]]:
        """Of each of the numbers, those there are, oldest first."""
        found: dict[int, list[FrozenTrial]] = {number: [] for number in self.numbers}
        for trial in self.study.get_trials(deepcopy=False):
            if trial.user_attrs.get(SLOT) in found:
                found[trial.user_attrs[SLOT]].append(trial)
        return found

    def outcomes(self) -> dict[int, FrozenTrial]:
        """Of the slots that are done, in their order."""
        return {
            number: done[0]
            for number, attempts in self.attempts().items()
            if (done := [attempt for attempt in attempts if is_outcome(attempt)])
        }

    def claim(self, worker: str) -> tuple[FrozenTrial, list[FrozenTrial]] | None:
        """The first slot that nobody works on, now running, and what is known of the others: the
        outcomes and the running attempts, in the slots' order. None where there is none."""
        with nullcontext() if self.lock is None else locked(self.lock):
            attempts = self.attempts()
            ended = [number for number, there in attempts.items() if all(map(_is_dead, there))]
            if ended:  # at first all; later, those whose attempt was failed but not followed
                for number in ended:
                    self.study.add_trial(
                        create_trial(state=TrialState.WAITING, user_attrs={SLOT: number})
                    )
                attempts = self.attempts()
            known = {number: _current(there) for number, there in attempts.items()}
            for number, current in known.items():
                if current is None and (claimed := self._claimed(attempts[number], worker)):
                    return claimed, [trial for trial in known.values() if trial is not None]
        return None

    def _claimed(self, attempts: list[FrozenTrial], worker: str) -> FrozenTrial | None:
        for attempt in attempts:
            if attempt.state != TrialState.WAITING:
                continue
            trial_id = attempt._trial_id
            # Before it runs, so that there is no running trial without a heartbeat.
            self.storage.record_heartbeat(trial_id)
            try:
                if self.storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                    self.storage.set_trial_user_attr(trial_id, WORKER, worker)
                    return attempt
            except UpdateFinishedTrialError:
                pass
            return None  # another worker was faster
        return None

    def finish(
        self,
        trial: FrozenTrial,
        seconds: float,
        state: TrialState,
        value: float | None = None,
        reason: str = "",
    ) -> None:
        """The outcome of a claimed attempt: its value, or why there is none. Without effect where
        the attempt was taken for dead meanwhile: another has its place."""
        trial_id = trial._trial_id
        try:
            self.storage.set_trial_user_attr(trial_id, SECONDS, round(seconds, 3))
            if reason:
                self.storage.set_trial_user_attr(trial_id, REASON, reason)
            values = None if value is None else [value]
            self.storage.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            pass

    def requeue_stale(self) -> None:
        """Those whose heart stopped."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(self.study)

    def requeue(self, is_dead: Callable[[FrozenTrial], bool] = lambda trial: True) -> None:
        """Running attempts that are known to have no worker any more."""
        study = self.study
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            if is_dead(trial):
                try:
                    self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                except UpdateFinishedTrialError:
                    continue
                follow = self.storage.get_heartbeat_stale_trial_callback()
                assert follow is not None  # see open_storage
                follow(study, trial)

    def keep_validation(self, trial: FrozenTrial, number: int, value: float) -> None:
        """Writes what a trial is worth on its way. Without effect where it was taken for dead."""
        with suppress(UpdateFinishedTrialError):
            self.storage.set_trial_intermediate_value(trial._trial_id, number, value)

    def keep_setting(
        self, trial: FrozenTrial, setting: dict[str, Any], searched: dict[str, Any]
    ) -> None:
        """Writes what is tried, as the trial's parameters."""
        for name, value in setting.items():
            internal = searched[name].to_internal_repr(value)
            self.storage.set_trial_param(trial._trial_id, name, internal, searched[name])


def is_outcome(trial: FrozenTrial) -> bool:
    if trial.state == TrialState.FAIL:
        return REASON in trial.user_attrs
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)


def _is_dead(trial: FrozenTrial) -> bool:
    return trial.state.is_finished() and not is_outcome(trial)


def _current(attempts: list[FrozenTrial]) -> FrozenTrial | None:
    """The outcome, or else the running attempt; None where one is to begin."""
    done = [attempt for attempt in attempts if is_outcome(attempt)]
    running = [attempt for attempt in attempts if attempt.state == TrialState.RUNNING]
    return next(iter(done + running), None)
