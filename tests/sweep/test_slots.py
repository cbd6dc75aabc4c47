"""Each slot has one outcome, whatever dies; counted with a storage and no training."""

import pytest
from optuna.trial import TrialState

from recsys_posttrain.sweep import storage as storage_module
from recsys_posttrain.sweep.slots import Slots
from recsys_posttrain.sweep.storage import open_storage, sqlite_url

COMPLETE, FAIL = TrialState.COMPLETE, TrialState.FAIL


@pytest.fixture
def slots(tmp_path):
    storage = open_storage(sqlite_url(tmp_path / "study.db"))
    yield Slots("s", (0, 1, 2), storage, tmp_path / "lock")
    storage.engine.dispose()


def again(slots):
    """As another process would see them."""
    return Slots(slots.name, slots.numbers, open_storage(slots.storage.url), slots.lock)


def claimed(slots, worker="w"):
    claim = slots.claim(worker)
    return None if claim is None else claim[0]


def test_slots_are_claimed_in_order_once(slots):
    other = again(slots)
    trials = [claimed(slots), claimed(other), claimed(slots)]
    assert [trial.user_attrs["slot"] for trial in trials] == [0, 1, 2]
    assert claimed(slots) is None
    assert claimed(other) is None
    slots.finish(trials[0], 1.5, COMPLETE, 0.25)
    other.finish(trials[2], 0.5, FAIL, reason="diverged")
    outcomes = again(slots).outcomes()
    assert list(outcomes) == [0, 2]
    assert outcomes[0].value == 0.25
    assert outcomes[0].user_attrs["seconds"] == 1.5
    assert outcomes[2].user_attrs["reason"] == "diverged"
    assert claimed(slots) is None


def test_what_is_known_of_the_others(slots):
    first = claimed(slots)
    slots.finish(first, 1, COMPLETE, 0.5)
    second = claimed(slots)
    _, known = slots.claim("w")
    assert [trial.number for trial in known] == [first.number, second.number]
    assert [trial.state for trial in known] == [TrialState.COMPLETE, TrialState.RUNNING]


def test_the_trial_of_a_dead_worker_is_done_again_first_and_with_its_setting(slots):
    from recsys_posttrain.sweep.proposal import distributions
    from recsys_posttrain.sweep.space import Between

    searched = distributions({"x": Between(0, 1)})
    trial = claimed(slots, "dead")
    slots.keep_setting(trial, {"x": 0.75}, searched)
    claimed(slots, "alive")
    slots.requeue(lambda trial: trial.user_attrs["worker"] == "dead")
    retried = claimed(again(slots))
    assert retried.user_attrs["slot"] == 0
    assert retried.params == {"x": 0.75}
    slots.finish(trial, 1, COMPLETE, 0.1)  # it was not dead after all: too late
    assert not slots.outcomes()
    slots.finish(retried, 1, COMPLETE, 0.2)
    assert {slot: each.value for slot, each in slots.outcomes().items()} == {0: 0.2}


def test_an_attempt_that_failed_and_was_not_followed_does_not_block_its_slot(slots):
    """A requeue that was killed between its two writes."""
    trial = claimed(slots)
    slots.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    assert claimed(slots).user_attrs["slot"] == 0


def test_a_worker_killed_before_its_last_write_leaves_one_outcome(slots):
    """The reason is there, the state is not."""
    trial = claimed(slots)
    slots.storage.set_trial_user_attr(trial._trial_id, "reason", "diverged")
    slots.requeue()
    assert claimed(slots).user_attrs["slot"] == 1
    assert slots.outcomes()[0].user_attrs["reason"] == "diverged"


def test_a_heart_that_stopped(slots, monkeypatch):
    """Heartbeats are of whole seconds in SQLite; grace is shorter than that here."""
    claimed(slots)
    slots.requeue_stale()
    assert claimed(slots).user_attrs["slot"] == 1
    monkeypatch.setattr(slots.storage, "grace_period", -2)
    slots.requeue_stale()
    assert [claimed(slots).user_attrs["slot"] for _ in range(3)] == [0, 1, 2]
    assert storage_module.GRACE > 2 * storage_module.HEARTBEAT
