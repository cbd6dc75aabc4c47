"""Where trials are kept: an SQLite file of one machine, or PostgreSQL for any number of them."""

import logging
import threading
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import SQLAlchemyError

from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep.patience import PatientStorage
from recsys_posttrain.sweep.storage_url import address, is_sqlite, shown, without_secrets

_log = logging.getLogger(__name__)

# Seconds. A command that has not beaten for GRACE is taken for dead, and its trials are queued
# again. If it lives, these are done twice and count once.
HEARTBEAT, GRACE = 10, 60
FIRST_ATTEMPTS = 5  # of several machines that create the tables of one new database at once


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path.resolve()}"


def open_storage(url: str) -> RDBStorage:
    """One that waits for a PostgreSQL server that goes away, once it is open.

    Raises: UserError for another kind of database, or one that does not answer or is damaged.
    """
    with storage_is_explained(url):
        bare, secrets = address(url)
        sqlite = is_sqlite(url)
        # Two processes that write to one SQLite file wait for each other.
        options = {"timeout": 100} if sqlite else {"connect_timeout": 10, **secrets}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            for attempt in range(FIRST_ATTEMPTS):
                try:
                    return PatientStorage(
                        bare.render_as_string(hide_password=False),
                        0.0 if sqlite else GRACE,
                        engine_kwargs={"connect_args": options, "pool_pre_ping": True},
                        heartbeat_interval=HEARTBEAT,
                        grace_period=GRACE,
                        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
                    )
                except SQLAlchemyError as error:
                    # Another machine created a table in between; all else is wrong again.
                    said = str(error)
                    was_created = "already exists" in said or "UniqueViolation" in said
                    if attempt == FIRST_ATTEMPTS - 1 or not was_created:
                        raise
    raise AssertionError("unreachable")


@contextmanager
def storage_is_explained(url: str) -> Iterator[None]:
    """UserError, without the password, for what a database answers when it cannot serve."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        missing = isinstance(error, ImportError) and "psycopg" not in f"{error} {error.__cause__}"
        if missing:
            raise
        raise UserError(
            f"the storage {shown(url)}: {_reason(error, url)}; {_fix(url, error)}"
        ) from error
    except RuntimeError as error:
        if "optuna" not in str(error).lower():
            raise
        said = without_secrets(str(error), url)
        raise UserError(
            f"the storage {shown(url)}: {said}; give another --storage or --output"
        ) from error


def _reason(error: BaseException, url: str) -> str:
    """The last cause's first line: what the database itself said."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(getattr(error, "orig", None) or error).strip()
    return without_secrets(text.splitlines()[0], url) if text else type(error).__name__


def _fix(url: str, error: BaseException) -> str:
    if isinstance(error, ImportError):
        return "install recsys-posttrain[postgresql] to use PostgreSQL"
    if is_sqlite(url):
        if "full" in _reason(error, url):
            return "free some space and run the same command again (what is finished is kept)"
        return (
            "if the file is damaged, move it away: finished runs are stages of their own and are "
            "reused when the sweep begins anew"
        )
    return "start the server or correct --storage, and run the same command again"


@contextmanager
def heartbeats(storage: RDBStorage, running: Collection[int]) -> Iterator[None]:
    """Of the trials with these ids, which may change: beats in a thread while the block runs."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT):
            try:
                for trial_id in tuple(running):
                    storage.record_heartbeat(trial_id)
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
                _log.warning("no heartbeat: %s", _reason(error, storage.url))
        storage.remove_session()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
