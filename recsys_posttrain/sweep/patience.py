"""A storage that survives a restart of its server: what it is asked is asked again for a while."""

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError

_log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

PAUSES = 0.1, 5.0  # seconds between two attempts: the first, doubled up to the last
# What Optuna and slots.py ask a storage: each is a transaction of its own, none calls another.
_ASKED = (
    *("create_new_study", "get_all_studies", "get_study_id_from_name", "get_study_name_from_id"),
    *("get_study_directions", "get_study_user_attrs", "get_study_system_attrs"),
    *("set_study_user_attr", "set_study_system_attr", "_create_new_trial", "_set_trial_param"),
    *("set_trial_state_values", "set_trial_user_attr"),
    *("set_trial_system_attr", "get_trial", "_get_trials", "_get_stale_trial_ids"),
    "record_heartbeat",
)


class PatientStorage(RDBStorage):
    """grace: seconds for which a server may be away. 0: whatever fails is raised at once.

    Whether a transaction was applied whose answer got lost is not known, so each is one that may be
    done twice: values are set, not changed; a study that is there is read; a trial put there twice
    is two attempts of a slot, of which one is claimed; a claim that was applied looks like
    another worker's and is queued again when no heart beats for it; an outcome that is there
    already refuses the second, which `Slots.finish` takes for said.
    """

    def __init__(self, url: str, grace: float, **options: Any) -> None:
        self.grace = grace
        super().__init__(url, **options)


def patiently(ask: Callable[[], Answer], grace: float) -> Answer:
    """Its answer, or what it raises once the server has been away for `grace` seconds."""
    pause, most = PAUSES
    deadline: float | None = None
    while True:
        try:
            return ask()
        except (DBAPIError, PendingRollbackError, StorageInternalError) as error:
            if not grace or not is_away(error):
                raise
            if deadline is None:
                deadline = time.monotonic() + grace
                _log.warning("the storage does not answer; trying again for %g s", grace)
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, most)


def is_away(error: BaseException | None) -> bool:
    """Whether the server, or the way to it, failed, and not the question."""
    while error is not None:
        # Of a second query in a transaction whose first one met the lost connection.
        if isinstance(error, PendingRollbackError):
            return True
        if isinstance(error, DBAPIError):
            return error.connection_invalidated or isinstance(
                error, OperationalError | InterfaceError
            )
        error = error.__cause__
    return False


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def asked(self: PatientStorage, *arguments: Any, **options: Any) -> Any:
        return patiently(lambda: method(self, *arguments, **options), self.grace)

    return asked


for _name in _ASKED:
    setattr(PatientStorage, _name, _patient(getattr(RDBStorage, _name)))
