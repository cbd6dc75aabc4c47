"""`recsys-posttrain sweep`: tunes every method alike, reruns what was chosen, writes the tables."""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys_posttrain.files import disk_is_explained
from recsys_posttrain.progress import Progress, say
from recsys_posttrain.studies.folder import claim, say_what_is_replaced
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.study import say_the_data
from recsys_posttrain.sweep.changes import check_definition
from recsys_posttrain.sweep.ledger import Ledger
from recsys_posttrain.sweep.load import Options as Options
from recsys_posttrain.sweep.load import definition_of, name_of
from recsys_posttrain.sweep.objective import Objective
from recsys_posttrain.sweep.outcome import write_outcome
from recsys_posttrain.sweep.storage import open_storage, sqlite_url, storage_is_explained
from recsys_posttrain.sweep.storage_url import VARIABLE, has_secret, is_sqlite, shown
from recsys_posttrain.sweep.there import DATABASE
from recsys_posttrain.sweep.worker import work_off
from recsys_posttrain.tracking.curves import streamed
from recsys_posttrain.tracking.mirror import track


def run_sweep(file: Path, options: Options) -> Path:
    """Continues where it was interrupted; returns the folder.

    Raises: UserError for a storage that does not serve, a definition that changed, or a budget or
    search space that makes no sense.
    """
    workers = options.engine.workers(options.workers, options.device, usual=1)
    sweep = options.sweep(file)
    folder = options.output / name_of(file, sweep, options)
    claim(folder, definition_of(file, sweep, options))
    with disk_is_explained(options.output):
        url = options.storage or sqlite_url(folder / DATABASE)
        if has_secret(url) and any(url in word for word in sys.argv):
            say(
                f"warning: --storage {shown(url)}: every user of this machine can read a password "
                "in a command's arguments; leave it out and set PGPASSWORD, write it into "
                f"~/.pgpass, or give the URL as {VARIABLE}"
            )
        storage = open_storage(url)
        progress = Progress()
        pipeline = Pipeline(sweep.base.setup, options.output, options.device, progress.add)
        lock = folder / ".claims" if is_sqlite(url) else None
        ledger = Ledger(sweep, folder.name, Objective(sweep, pipeline), storage, lock)
        with storage_is_explained(url):
            check_definition(ledger, options.accepts_changes)
            with _presence(folder) as is_alone:
                if is_alone and lock is not None:
                    for queue in ledger.queues():  # nobody else works on this file: they are dead
                        queue.requeue_all()
                say_the_data(pipeline)
                say_what_is_replaced(folder, pipeline.data.corpus.content_hash)
                ledger.objective.build_shared()
                progress.finish()
                pipeline.on_stage = lambda _: None
                with streamed(lambda: track(folder)):
                    work_off(ledger, file, options, workers, folder)
            write_outcome(ledger, file, folder, options.command(file))
    return folder


@contextmanager
def _presence(folder: Path) -> Iterator[bool]:
    """Whether no other process works in this folder; held while the block runs, and let go by the
    kernel where a process dies."""
    with (folder / ".workers").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_alone = True
        except BlockingIOError:
            is_alone = False
        fcntl.flock(file, fcntl.LOCK_SH)
        yield is_alone
