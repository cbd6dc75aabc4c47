"""`recsys-posttrain sweep`: tunes every method alike, reruns what was chosen, writes the tables."""

import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from recsys_posttrain.config import require
from recsys_posttrain.data.table_file import Duplicates
from recsys_posttrain.files import disk_is_explained
from recsys_posttrain.progress import Progress, console
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.studies.folder import claim, definition, say_what_is_replaced
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.study import say_the_data
from recsys_posttrain.sweep.changes import check_definition
from recsys_posttrain.sweep.ledger import Ledger
from recsys_posttrain.sweep.load_sweep import load_sweep, name_of
from recsys_posttrain.sweep.objective import check_rewards
from recsys_posttrain.sweep.outcome import write_outcome
from recsys_posttrain.sweep.progress import CellProgress
from recsys_posttrain.sweep.storage import open_storage, sqlite_url, storage_is_explained
from recsys_posttrain.sweep.storage_url import VARIABLE, has_secret, is_sqlite, shown
from recsys_posttrain.sweep.work import Worker
from recsys_posttrain.sweep.workers import end_with_parent, run_workers
from recsys_posttrain.types import Repeats

DATABASE = "study.db"


class Options(NamedTuple):
    """What the command line gave; None: what the file says. storage: None is a file in the run's
    folder. is_worker: one of the processes of another such command."""

    dataset: str | None = None
    trials: int | None = None
    seeds: int | None = None
    workers: int = 1
    storage: str | None = None
    accepts_changes: bool = False
    device: str = "cpu"
    data_root: str | None = None
    output: Path = Path("runs")
    thresholds: Thresholds = Thresholds()
    is_worker: bool = False
    repeats: Repeats | None = None
    duplicates: Duplicates | None = None


def run_sweep(file: Path, options: Options) -> Path:
    """Continues where it was interrupted; returns the folder.

    Raises: UserError for a storage that does not serve, a definition that changed, or a budget or
    search space that makes no sense.
    """
    require(options.workers >= 1, f"--workers {options.workers}: give at least 1.")
    sweep = load_sweep(
        file,
        options.dataset,
        options.data_root,
        options.trials,
        options.seeds,
        options.repeats,
        options.thresholds,
        options.duplicates,
    )
    folder = options.output / name_of(file, sweep)
    if not options.is_worker:
        chosen = " ".join(options.thresholds.options)
        claim(folder, definition(file, sweep.base.setup.dataset, kind="sweep", set=chosen))
    with disk_is_explained(options.output):
        url = options.storage or sqlite_url(folder / DATABASE)
        if has_secret(url) and any(url in word for word in sys.argv):
            console.print(
                f"warning: --storage {shown(url)}: every user of this machine can read a password "
                "in a command's arguments; leave it out and set PGPASSWORD, write it into "
                f"~/.pgpass, or give the URL as {VARIABLE}",
                markup=False,
                soft_wrap=True,
            )
        storage = open_storage(url, is_patient=options.is_worker)
        progress = Progress()
        told = (lambda _: None) if options.is_worker else progress.add
        pipeline = Pipeline(sweep.base.setup, options.output, options.device, told)
        lock = folder / ".claims" if is_sqlite(url) else None
        ledger = Ledger(sweep, folder.name, pipeline, storage, lock)
        with storage_is_explained(url):
            if options.is_worker:
                end_with_parent()
                torch.set_num_threads(1)
                with _presence(folder):
                    Worker(ledger, folder / f"training-{os.getpid()}.log").work()
                return folder
            check_definition(ledger, options.accepts_changes)
            _tune(file, options, folder, ledger, progress)
            write_outcome(ledger, file, folder, _command(file, options))
    return folder


def _tune(file: Path, options: Options, folder: Path, ledger: Ledger, progress: Progress) -> None:
    """Until every slot has its outcome."""
    with _presence(folder) as is_alone:
        if is_alone and ledger.lock is not None:
            for slots in ledger.queues():  # nobody else works on this file: they are dead
                slots.requeue()
        say_the_data(ledger.pipeline)
        say_what_is_replaced(folder, ledger.pipeline.data.corpus.content_hash)
        check_rewards(ledger.pipeline, ledger.sweep)
        # All trials start from these, so no worker has to wait for another one to build them.
        ledger.pipeline.pretrain()
        ledger.pipeline.rewards.measure()
        ledger.pipeline.rewards.measure_judge()
        progress.finish()
        ledger.pipeline.told = lambda _: None
        with CellProgress(ledger, console, options.workers).shown() as cells:
            if options.workers == 1:
                Worker(ledger, folder / "training.log", cells.look).work()
            else:
                command = [sys.executable, "-m", "recsys_posttrain", *_arguments(file, options)]
                environment = {} if options.storage is None else {VARIABLE: options.storage}
                run_workers(
                    options.workers,
                    [*command, "--is-worker"],
                    environment,
                    folder,
                    ledger,
                    cells.look,
                )


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


def _command(file: Path, options: Options) -> str:
    return shlex.join(["recsys-posttrain", *_arguments(file, options)])


def _arguments(file: Path, options: Options) -> list[str]:
    """The command line again, of what was given; without the storage, which may hold a password."""
    given = {
        "--dataset": options.dataset,
        "--trials": options.trials,
        "--seeds": options.seeds,
        "--repeats": options.repeats,
        "--data-root": options.data_root,
        "--duplicates": options.duplicates,
        "--device": options.device if options.device != "cpu" else None,
        "--output": options.output if options.output != Path("runs") else None,
    }
    pairs = [[name, str(value)] for name, value in given.items() if value is not None]
    words = [word for pair in pairs for word in pair]
    return ["sweep", str(file), *words, *options.thresholds.options]
