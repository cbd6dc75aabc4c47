"""A queue of slots in a storage: each is done exactly once, whoever dies on the way.

A slot is a number, kept by Optuna as one trial or several: attempts. An attempt whose worker died
is failed without a reason and followed by a new one; the first that completes, or fails with a
reason, is the slot's outcome, and no other attempt of it begins. Optuna's heartbeat and its
callback find and follow attempts of machines that died. Its own queue does not serve: what
`study.ask` takes next and how many trials there are depends on who asks first, and a budget is the
same for every method only where each slot has exactly one outcome.
"""

import warnings
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState, create_trial

from recsys_posttrain.store import locked
from recsys_posttrain.sweep.space import Setting, Space, distributions

SLOT, SECONDS, REASON = "slot", "seconds", "reason"
STATES = {TrialState.COMPLETE: "complete", TrialState.FAIL: "failed"}


class Outcome(NamedTuple):
    """How an attempt ended. value: what it was worth; None where it failed, for this reason."""

    seconds: float
    value: float | None
    reason: str = ""

    @property
    def state(self) -> TrialState:
        return TrialState.FAIL if self.value is None else TrialState.COMPLETE


@dataclass(frozen=True, eq=False)
class Queue:
    """numbers: the slots, done in this order. lock: a file, where the storage itself cannot keep
    two processes from claiming one trial (SQLite); None where it can."""

    name: str
    numbers: tuple[int, ...]
    storage: RDBStorage
    lock: Path | None
    running: dict[int, FrozenTrial] = field(default_factory=dict)
    """By trial id, the attempts that this process has claimed."""

    @cached_property
    def study(self) -> optuna.Study:
        """Read once; Optuna remembers its finished trials."""
        return optuna.create_study(
            storage=self.storage, study_name=self.name, direction="maximize", load_if_exists=True
        )

    def attempts(self) -> dict[int, list[FrozenTrial]]:
        """By number, those there are, oldest first."""
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

    def claim(self) -> tuple[FrozenTrial, list[FrozenTrial]] | None:
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
                if current is None and (claimed := self._claimed(attempts[number])):
                    self.running[claimed._trial_id] = claimed
                    return claimed, [trial for trial in known.values() if trial is not None]
        return None

    def _claimed(self, attempts: list[FrozenTrial]) -> FrozenTrial | None:
        attempt = next((each for each in attempts if each.state == TrialState.WAITING), None)
        if attempt is None:
            return None  # another process is about to put it there
        # Before it runs, so that there is no running trial without a heartbeat.
        self.storage.record_heartbeat(attempt._trial_id)
        with suppress(UpdateFinishedTrialError):
            if self.storage.set_trial_state_values(attempt._trial_id, TrialState.RUNNING):
                return attempt
        return None  # another process was faster

    def keep_setting(self, trial: FrozenTrial, setting: Setting, space: Space) -> None:
        """Writes what is tried, as the trial's parameters."""
        for name, searched in distributions(space).items():
            internal = searched.to_internal_repr(setting[name])
            self.storage.set_trial_param(trial._trial_id, name, internal, searched)

    def finish(self, trial: FrozenTrial, outcome: Outcome) -> None:
        """Without effect where the claimed attempt was taken for dead meanwhile: another has its
        place. The state comes last, so that what is killed on the way has no outcome."""
        trial_id = trial._trial_id
        with suppress(UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(trial_id, SECONDS, round(outcome.seconds, 3))
            if outcome.reason:
                self.storage.set_trial_user_attr(trial_id, REASON, outcome.reason)
            values = None if outcome.value is None else [outcome.value]
            self.storage.set_trial_state_values(trial_id, outcome.state, values)
        del self.running[trial_id]

    def requeue_stale(self) -> None:
        """Those whose heart stopped."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(self.study)

    def requeue_mine(self) -> None:
        """Those that this process has claimed and not finished."""
        self._requeue(list(self.running.values()))
        self.running.clear()

    def requeue_all(self) -> None:
        """Where no process is left that may work on one."""
        self._requeue(self.study.get_trials(states=(TrialState.RUNNING,)))

    def _requeue(self, trials: Iterable[FrozenTrial]) -> None:
        for trial in trials:
            with suppress(UpdateFinishedTrialError):
                self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                follow = self.storage.get_heartbeat_stale_trial_callback()
                assert follow is not None  # see open_storage
                follow(self.study, self.storage.get_trial(trial._trial_id))


def is_outcome(trial: FrozenTrial) -> bool:
    if trial.state == TrialState.FAIL:
        return REASON in trial.user_attrs
    return trial.state == TrialState.COMPLETE


def reason_of(outcome: FrozenTrial) -> str:
    """Why it has no value; empty where it has one."""
    return str(outcome.user_attrs.get(REASON, ""))


def _is_dead(trial: FrozenTrial) -> bool:
    return trial.state.is_finished() and not is_outcome(trial)


def _current(attempts: list[FrozenTrial]) -> FrozenTrial | None:
    """The outcome, or else the running attempt; None where one is to begin."""
    done = [attempt for attempt in attempts if is_outcome(attempt)]
    running = [attempt for attempt in attempts if attempt.state == TrialState.RUNNING]
    return next(iter(done + running), None)
