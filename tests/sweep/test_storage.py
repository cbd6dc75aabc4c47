"""What a database answers when it cannot serve, in one sentence; and the beating heart."""

import time

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep import storage
from recsys_posttrain.sweep.queue import Queue
from recsys_posttrain.sweep.storage import open_storage, sqlite_url, storage_is_explained


def test_a_full_disk_and_what_is_finished_is_kept(tmp_path):
    """SQLite's own error: the file may not grow by another page."""
    url = sqlite_url(tmp_path / "study.db")
    opened = open_storage(url)
    with opened.engine.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar()
    queue = Queue("s", tuple(range(50)), opened, None)
    opened.engine.dispose()

    @event.listens_for(opened.engine, "connect")
    def limit(connection, _):
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")

    def fill():
        with storage_is_explained(url):
            for number in range(50):
                queue.study.set_user_attr(f"{number}", "x" * 500)

    with pytest.raises(UserError, match=r"disk is full; free some space and run the same command"):
        fill()
    opened.engine.dispose()
    there = open_storage(url).get_study_user_attrs(1)
    assert all(value == 500 * "x" for value in there.values())


def test_a_server_that_goes_away_is_named_without_its_password():
    url = "postgresql://me:secret@host/sweeps"
    lost = OperationalError("SELECT", {}, Exception("server closed the connection\nunexpectedly"))
    with pytest.raises(UserError) as refusal, storage_is_explained(url):
        raise StorageInternalError("An exception is raised") from lost
    assert str(refusal.value) == (
        "the storage postgresql://me:***@host/sweeps: server closed the connection; start the "
        "server or correct --storage, and run the same command again"
    )


def test_a_mistake_of_ours_stays_one():
    with pytest.raises(RuntimeError, match="ours"), storage_is_explained("sqlite:///x"):
        raise RuntimeError("ours")


def test_the_heart_beats_while_the_block_runs(monkeypatch):
    monkeypatch.setattr(storage, "HEARTBEAT", 0.01)
    beats = []

    class Stub:
        def record_heartbeat(self, trial_id):
            beats.append(trial_id)

        def remove_session(self):
            beats.append("closed")

    running = {7: "a trial"}
    with storage.heartbeats(Stub(), running):
        deadline = time.monotonic() + 10
        while len(beats) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        running[8] = "another, claimed meanwhile"
        while 8 not in beats and time.monotonic() < deadline:
            time.sleep(0.01)
    assert beats[:3] == [7, 7, 7]
    assert 8 in beats
    assert beats[-1] == "closed"
