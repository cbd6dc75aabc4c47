"""The trials and final runs of a sweep, done by the processes of this command.

This process alone speaks to the storage: it asks for slots and tells their outcomes. Workers train;
they know neither the storage nor each other.
"""

import time
from collections.abc import Iterator
from contextlib import closing, redirect_stderr
from functools import cache, partial
from pathlib import Path

from recsys_posttrain.errors import TrainingFailed
from recsys_posttrain.progress import Look, Row, console, live_table, say, time_left
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.sweep.ledger import CellState, Job, Ledger
from recsys_posttrain.sweep.load import Options
from recsys_posttrain.sweep.objective import Objective
from recsys_posttrain.sweep.queue import STATES, Outcome, Queue
from recsys_posttrain.sweep.so_far import SoFar
from recsys_posttrain.sweep.space import described
from recsys_posttrain.sweep.storage import heartbeats


def work_off(ledger: Ledger, file: Path, options: Options, workers: int, folder: Path) -> None:
    """Returns when every slot of the sweep has its outcome, also those of other commands. What
    training prints goes to a log in the folder.

    Raises: UserError for the user's mistake in a worker, or where the last one was killed.
    """
    running: dict[int, Job] = {}
    so_far = SoFar(ledger, folder)

    def jobs() -> Iterator[Job | None]:
        for job in ledger.jobs():
            if job is not None:
                running[job.trial._trial_id] = job
                so_far.write(states, running.values())
            yield job

    here = partial(_here, ledger.objective, folder / "training.log")
    elsewhere = partial(_elsewhere, file, options._replace(storage=None))
    engine = options.engine
    work = here if engine.is_here(workers) else elsewhere
    began, first = time.monotonic(), ledger.states()
    states, total = first, _left(first)

    def look() -> Look:
        busy = [job.cell for job in [*running.values()]]
        rows = [_row(*pair, busy) for pair in zip(first, states, strict=True)]
        return Look(rows, total - _left(states), _left(states))

    try:
        with (
            live_table(("method", "trials", "final runs"), look, console),
            heartbeats(ledger.storage, running),
            closing(engine.answered(work, jobs(), workers, folder / "workers.log")) as answers,
        ):
            for job, outcome in answers:
                queue = ledger.queue_of(job)
                queue.finish(job.trial, outcome)
                del running[job.trial._trial_id]
                states = ledger.states()
                left = _left(states)
                seconds_each = (time.monotonic() - began) / max(1, total - left)
                say(_line(job, queue, outcome, time_left(left, seconds_each)))
        so_far.write(states, ())
    finally:  # not the settings' fault: an interrupt, a full disk, a mistake of ours
        for job in running.values():
            ledger.queue_of(job).requeue_mine()


def _left(states: list[CellState]) -> int:
    return sum(state.left for state in states)


def _row(first: CellState, now: CellState, busy: list[str]) -> Row:
    """Of the live table. first: before this command did anything. busy: the cells of what runs."""
    running = busy.count(now.cell.label)
    is_tuned = len(now.trials) >= now.cell.trials
    words = [f"{len(now.trials)} of {now.cell.trials}", f"{len(now.finals)} done"]
    words[0] += f", {len(first.trials)} reused" if first.trials else ""
    words[1] += f", {len(first.finals)} reused" if first.finals else ""
    if not is_tuned:
        words[1] = ""
    elif now.setting is None:
        words[1] = "does nothing" if now.does_nothing else "no trial completed"
    words[is_tuned] += f", {running} running" if running else ""
    return Row(now.cell.label, tuple(words), running > 0, not now.left)


def _line(job: Job, queue: Queue, outcome: Outcome, left: str) -> str:
    kind = "trial" if job.seed is None else "final run"
    value = f"{STATES[outcome.state]}: {outcome.reason}"
    if outcome.value is not None:
        value = f"{outcome.value:.4f}"
    return (
        f"{job.cell}: {kind} {len(queue.outcomes())} of {len(queue.numbers)}, "
        + ", ".join(filter(None, [value, described(job.setting)]))
        + f" ({left} left)"
    )


def _here(objective: Objective, log: Path, job: Job) -> Outcome:
    # Lightning's progress bar is for a terminal.
    with log.open("a", encoding="utf-8") as file, redirect_stderr(file):
        return outcome_of(objective, job)


def _elsewhere(file: Path, options: Options, job: Job) -> Outcome:
    return outcome_of(_loaded(file, options), job)


@cache
def _loaded(file: Path, options: Options) -> Objective:
    """Once per process. An experiment file may define algorithms, which cannot be sent to it."""
    sweep = options.sweep(file)
    return Objective(sweep, Pipeline(sweep.base.setup, options.output, options.device))


def outcome_of(objective: Objective, job: Job) -> Outcome:
    (cell,) = (cell for cell in objective.sweep.cells if cell.label == job.cell)
    began = time.monotonic()
    try:
        if job.seed is None:
            value = objective.trial(cell, job.setting)
        else:
            value = objective.final(cell, job.setting, job.seed)
    except TrainingFailed as failure:
        return Outcome(time.monotonic() - began, None, str(failure))
    return Outcome(time.monotonic() - began, value)
