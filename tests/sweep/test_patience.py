"""A storage whose answers get lost after it did what it was asked: asked again, and done once."""

import time
from collections import Counter
from functools import wraps

import optuna
import pytest
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import OperationalError, PendingRollbackError

from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep import patience, storage
from recsys_posttrain.sweep.patience import PatientStorage, patiently
from recsys_posttrain.sweep.queue import SLOT, Outcome, Queue, is_outcome
from recsys_posttrain.sweep.space import Between

LOST = OperationalError("SELECT 1", None, Exception("server closed the connection unexpectedly"))


def losing(name, method, asked, lost):
    """The answer to the second question of its kind gets lost, and to every fifth after it: of
    the operations in turn, so that a trial put there twice is not the one whose claim is lost."""

    @wraps(method)
    def applied(self, *arguments, **options):
        answer = method(self, *arguments, **options)
        asked[name] += 1
        if asked[name] % 5 == 2:
            lost[name] += 1
            raise LOST
        return answer

    return applied


@pytest.fixture
def forgetful(tmp_path, monkeypatch):
    """`lost`: how often the answer of which operation was."""
    monkeypatch.setattr(patience, "PAUSES", (0.001, 0.001))
    asked, lost = Counter(), Counter()

    class Forgetful(PatientStorage):
        pass

    there = Forgetful(
        f"sqlite:///{tmp_path / 'study.db'}",
        60.0,
        heartbeat_interval=1,
        grace_period=1,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
    )
    for name in patience._ASKED:
        method = losing(name, getattr(RDBStorage, name), asked, lost)
        setattr(Forgetful, name, patience._patient(method))
    there.lost = lost
    yield there
    there.engine.dispose()


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_slot_is_done_once(forgetful, tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    queue = Queue("queue", tuple(range(6)), forgetful, tmp_path / "lock")
    worked, deadline = [], time.monotonic() + 120
    while len(queue.outcomes()) < 6:
        assert time.monotonic() < deadline
        claim = queue.claim()
        if claim is None:  # one that was applied, and lost, is nobody's until its heart is missed
            time.sleep(0.2)
            queue.requeue_stale()
            continue
        trial, _ = claim
        slot = trial.user_attrs[SLOT]
        worked.append(slot)
        queue.keep_setting(trial, {"x": float(slot)}, {"x": Between(0, 9)})
        queue.finish(trial, Outcome(0.1, slot / 10))
    assert sorted(worked) == list(range(6))
    done = queue.outcomes()
    assert {slot: trial.value for slot, trial in done.items()} == {n: n / 10 for n in range(6)}
    assert {slot: trial.params for slot, trial in done.items()} == {n: {"x": n} for n in range(6)}
    trials = queue.study.get_trials()
    assert sum(map(is_outcome, trials)) == 6
    changing = {
        *("_create_new_trial", "_set_trial_param", "set_trial_state_values"),
        *("set_trial_user_attr", "set_trial_intermediate_value", "record_heartbeat"),
    }
    assert changing <= forgetful.lost.keys()


WRONG = optuna.exceptions.StorageInternalError()
WRONG.__cause__ = ValueError("no such column")


@pytest.mark.parametrize(("error", "grace"), [(WRONG, 60.0), (LOST, 0.0)])
def test_what_is_wrong_with_the_question_or_has_no_time_of_grace_is_asked_once(error, grace):
    asked = []

    def ask():
        asked.append(1)
        raise error

    with pytest.raises(type(error)):
        patiently(ask, grace)
    assert len(asked) == 1


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_a_transaction_that_broke_off_is_asked_again(is_wrapped, monkeypatch):
    """Optuna goes on after a failed query, and the next one says this in its place."""
    monkeypatch.setattr(patience, "PAUSES", (0.001, 0.001))
    answers = [PendingRollbackError("Can't reconnect until invalid transaction is rolled back."), 5]

    def ask():
        answer = answers.pop(0)
        if answer == 5:
            return answer
        if is_wrapped:
            raise optuna.exceptions.StorageInternalError from answer
        raise answer

    assert patiently(ask, 60.0) == 5


POSTGRESQL = "postgresql://me@host/trials"


@pytest.mark.parametrize(("url", "grace"), [(POSTGRESQL, 60), ("sqlite:///x.db", 0)])
def test_a_server_is_waited_for_and_a_file_is_not(url, grace, monkeypatch):
    monkeypatch.setattr(storage, "PatientStorage", lambda url, grace, **options: grace)
    assert storage.open_storage(url) == grace


def test_whoever_mistypes_a_url_does_not_wait_for_a_minute(monkeypatch):
    def opened(url, grace, **options):
        raise LOST

    monkeypatch.setattr(storage, "PatientStorage", opened)
    with pytest.raises(UserError, match=r"^the storage postgresql://me@host/trials: server closed"):
        storage.open_storage(POSTGRESQL)
