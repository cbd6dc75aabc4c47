"""Kills workers of a small sweep with SIGKILL at random moments and starts it again until it ends.

    python benchmarks/sweep_kills.py [--kills 20] [--workers 1]

Exits with 1 unless every trial that was complete after a kill is complete in the end with the same
value, no slot has two outcomes, and the table and its rows are the bytes of the undisturbed sweep.
With one worker the command itself is killed, with more one of its workers. The sweep is that of
tests/small_sweep.py; its trials are few enough to be drawn at random, so that also several workers
must agree with the undisturbed one.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from recsys_posttrain.sweep.run import DATABASE
from recsys_posttrain.sweep.slots import SLOT, is_outcome
from recsys_posttrain.sweep.storage import open_storage, sqlite_url

TESTS = Path(__file__).resolve().parents[1] / "tests"
FOLDER = Path("runs") / "small_sweep-small"
COMPARED = ("table.md", "table.tex", "table.csv", "rows.parquet")
Outcomes = dict[tuple[str, int], tuple[float | None, tuple[tuple[str, float | str], ...]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    arguments = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    from data_factory import write_small_ratings

    print(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as name:
        ratings = write_small_ratings(Path(name) / "small.csv")
        print(report(Path(name), ratings, arguments.kills, arguments.workers, arguments.seed))


def report(work: Path, ratings: Path, kills: int, workers: int, seed: int) -> str:
    """One line of what was done; AssertionError for what must not be."""
    undisturbed = work / "undisturbed"
    # From the same folder with the same command, because the table names it.
    once = [*_command(ratings, workers), "--output", "runs"]
    undisturbed.mkdir()
    done = subprocess.run(once, cwd=undisturbed, env=_environment(work), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    rng, done, starts, seen, sweeps = random.Random(seed), 0, 0, 0, 0
    final = outcomes(undisturbed / FOLDER)
    while done < kills:  # more sweeps than one, where one ends before it was killed often enough
        killed = work / f"killed-{sweeps}"
        killed.mkdir()
        counts = _killed(once, killed, kills - done, workers, rng, work)
        done, starts, seen = done + counts[0], starts + counts[1], seen + counts[2]
        sweeps += 1
        for file in COMPARED:
            same = (killed / FOLDER / file).read_bytes() == (
                undisturbed / FOLDER / file
            ).read_bytes()
            assert same, f"{file} differs from the undisturbed sweep's"
        assert final == outcomes(killed / FOLDER), "the trials differ from the undisturbed sweep's"
    return (
        f"{done} kills with {workers} worker{'s' * (workers > 1)}, {starts} starts, {sweeps} "
        f"sweep{'s' * (sweeps > 1)}; {seen} completed trials seen after kills, none lost, none "
        f"twice; {len(final)} in the end; {', '.join(COMPARED)} equal the undisturbed sweep's"
    )


def _killed(
    command: list[str], folder: Path, kills: int, workers: int, rng: random.Random, work: Path
) -> tuple[int, int, int]:
    """Kills, starts of the command, and completed trials seen after kills. Ends with the sweep."""
    starts = done = seen = 0
    while True:
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=folder, env=_environment(work), stdout=log, stderr=log
            )
        starts += 1
        while process.poll() is None and done < kills:
            _wait_for_progress(process, folder, rng)
            victims = [process.pid] if workers == 1 else _children(process.pid)
            if victims and process.poll() is None:
                before = outcomes(folder / FOLDER)
                os.kill(rng.choice(victims), signal.SIGKILL)
                done += 1
                if workers == 1:
                    process.wait()
                after = outcomes(folder / FOLDER)
                assert before.items() <= after.items(), "a completed trial was lost or changed"
                seen += len(after)
        if process.wait() == 0:
            return done, starts, seen


def _wait_for_progress(process: subprocess.Popen, folder: Path, rng: random.Random) -> None:
    """Until a trial or a stage begins or ends, and a random moment more."""
    before = _progress(folder)
    while process.poll() is None and _progress(folder) == before:
        time.sleep(0.01)
    time.sleep(rng.random() * 0.3)


def _progress(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("runs/.partial-*")} | {
        path.name for path in folder.glob("runs/stages/*")
    }


def outcomes(folder: Path) -> Outcomes:
    """Of every slot of every queue: its value, None if it failed, and its setting."""
    path = folder / DATABASE
    if not path.is_file():
        return {}
    storage = open_storage(sqlite_url(path))
    found: Outcomes = {}
    for study in storage.get_all_studies():
        for trial in storage.get_all_trials(study._study_id):
            if is_outcome(trial):
                key = study.study_name, trial.user_attrs[SLOT]
                assert key not in found, f"{key} has two outcomes"
                found[key] = trial.value, tuple(sorted(trial.params.items()))
    storage.engine.dispose()
    return found


def _children(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def _command(ratings: Path, workers: int) -> list[str]:
    sweep = [sys.executable, "-m", "recsys_posttrain", "sweep", str(TESTS / "small_sweep.py")]
    return [*sweep, "--dataset", str(ratings), "--workers", str(workers)]


def _environment(work: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "RECSYS_POSTTRAIN_CACHE": str(work / "cache")}


if __name__ == "__main__":
    main()
