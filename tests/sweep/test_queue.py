"""Each slot has one outcome, whatever dies; counted with a storage and no training."""

import pytest
from optuna.trial import TrialState

from recsys_posttrain.sweep import storage as storage_module
from recsys_posttrain.sweep.queue import Outcome, Queue, reason_of
from recsys_posttrain.sweep.space import Between
from recsys_posttrain.sweep.storage import open_storage, sqlite_url

COMPLETE, FAIL = TrialState.COMPLETE, TrialState.FAIL
SPACE = {"x": Between(0, 1)}


@pytest.fixture
def queue(tmp_path):
    storage = open_storage(sqlite_url(tmp_path / "study.db"))
    yield Queue("s", (0, 1, 2), storage, tmp_path / "lock")
    storage.engine.dispose()


def again(queue):
    """As another process would see it."""
    return Queue(queue.name, queue.numbers, open_storage(queue.storage.url), queue.lock)


def claimed(queue):
    claim = queue.claim()
    return None if claim is None else claim[0]


def slot(trial):
    return trial.user_attrs["slot"]


def values(queue):
    return {number: trial.value for number, trial in queue.outcomes().items()}


def test_slots_are_claimed_in_order_once(queue):
    other = again(queue)
    trials = [claimed(queue), claimed(other), claimed(queue)]
    assert [slot(trial) for trial in trials] == [0, 1, 2]
    assert claimed(queue) is None
    assert claimed(other) is None
    queue.finish(trials[0], Outcome(1.5, 0.25))
    queue.finish(trials[2], Outcome(0.5, None, "diverged"))
    outcomes = again(queue).outcomes()
    assert list(outcomes) == [0, 2]
    assert outcomes[0].value == 0.25
    assert outcomes[0].user_attrs["seconds"] == 1.5
    assert [reason_of(each) for each in outcomes.values()] == ["", "diverged"]
    assert claimed(queue) is None


def test_what_is_known_of_the_others(queue):
    first = claimed(queue)
    queue.finish(first, Outcome(1, 0.5))
    second = claimed(queue)
    _, known = queue.claim()
    assert [trial.number for trial in known] == [first.number, second.number]
    assert [trial.state for trial in known] == [COMPLETE, TrialState.RUNNING]


def test_the_trial_of_a_dead_process_is_done_again_first_and_with_its_setting(queue):
    other = again(queue)
    trial = claimed(queue)
    queue.keep_setting(trial, {"x": 0.75}, SPACE)
    alive = claimed(other)
    queue.requeue_mine()
    retried = claimed(again(queue))
    assert slot(retried) == 0
    assert retried.params == {"x": 0.75}
    assert slot(claimed(queue)) == 2, "that of the other process is still its own"
    other.finish(alive, Outcome(1, 0.3))
    assert values(queue) == {1: 0.3}


def test_who_was_taken_for_dead_and_was_not_is_too_late(queue):
    trial, other = claimed(queue), again(queue)
    other.requeue_all()
    retried = claimed(other)
    queue.finish(trial, Outcome(1, 0.1))
    assert values(queue) == {}
    other.finish(retried, Outcome(1, 0.2))
    assert values(queue) == {0: 0.2}


def test_an_attempt_that_failed_and_was_not_followed_does_not_block_its_slot(queue):
    """A requeue that was killed between its two writes."""
    trial = claimed(queue)
    queue.storage.set_trial_state_values(trial._trial_id, FAIL)
    assert slot(claimed(queue)) == 0


@pytest.mark.parametrize("state", [FAIL, COMPLETE])
def test_a_process_killed_before_its_last_write_leaves_one_outcome(queue, state, monkeypatch):
    """Everything is there but the state. A failure is told by its reason; what completed is
    done again."""
    trial = claimed(queue)

    def killed(*arguments):
        raise KeyboardInterrupt

    outcome = Outcome(1, 0.7) if state == COMPLETE else Outcome(1, None, "why")
    with monkeypatch.context() as patch:
        patch.setattr(queue.storage, "set_trial_state_values", killed)
        with pytest.raises(KeyboardInterrupt):
            queue.finish(trial, outcome)
    queue.requeue_all()
    retried = claimed(queue)
    if state == FAIL:
        assert slot(retried) == 1
        assert reason_of(queue.outcomes()[0]) == "why"
        return
    assert slot(retried) == 0
    queue.running[retried._trial_id] = retried
    queue.finish(retried, Outcome(1, 0.5))
    assert values(queue) == {0: 0.5}
    assert reason_of(queue.outcomes()[0]) == ""


def test_a_heart_that_stopped(queue, monkeypatch):
    """Heartbeats are of whole seconds in SQLite; grace is shorter than that here."""
    claimed(queue)
    queue.requeue_stale()
    assert slot(claimed(queue)) == 1
    monkeypatch.setattr(queue.storage, "grace_period", -2)
    queue.requeue_stale()
    assert [slot(claimed(queue)) for _ in range(3)] == [0, 1, 2]
    assert storage_module.GRACE > 2 * storage_module.HEARTBEAT
