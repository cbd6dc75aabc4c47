"""Kills a study and a sweep at random moments, again and again, until each has ended.

    make kills
    python benchmarks/kills.py [--kills 150] [--seed N]

SIGKILL, SIGTERM and SIGINT in turn; to the command, to another of its processes, or to all at once;
with one worker and with two. Promised, and exit code 1 where it is not kept: what was finished is
kept and made once; the table is that of an undisturbed run, byte for byte; exit code 0 only with a
table, 143 after SIGTERM, 130 after SIGINT, and no traceback but Python's own before it runs a line
of the command; no temporary file in a finished stage; no process that stays. Writes
results/kills.json.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from killing.family import ENDED_BY, Family, codes_if_early, wait_until
from killing.kept import outcomes, stages, tables, unlisted
from shared.workload import write_result

TESTS = Path(__file__).resolve().parents[1] / "tests"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TARGETS = ("parent", "worker", "group")
MOST_SECONDS = 600.0  # of one start
MOST_LINES = 40  # of what was said, where a promise was broken


@dataclass
class Drill:
    """One command. broken: promises that were not kept, in words."""

    verb: str
    workers: int
    work: Path
    ratings: Path
    rng: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    ends: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.verb}, {self.workers} worker{'s' * (self.workers > 1)}"

    @property
    def stem(self) -> str:
        return {"run": "killed_study", "sweep": "killed_sweep"}[self.verb]

    def play(self, kills: int) -> None:
        undisturbed = self.folder("undisturbed")
        family = self.started(undisturbed)
        wait_until(lambda: not family.is_running(), MOST_SECONDS)
        assert family.process.wait() == 0, family.said()
        self.wanted = tables(undisturbed / self.place)
        self.trials = outcomes(undisturbed / self.place)
        assert len(self.wanted) == 4, "an undisturbed run writes its tables"
        while self.kills.total() < kills:  # it may end before it was killed often enough
            folder = self.folder(f"killed-{self.ends}")
            self.until_it_ends(folder, kills)
            self.ends += 1

    @property
    def place(self) -> Path:
        return Path("runs") / f"{self.stem}-{self.ratings.stem}"

    def folder(self, name: str) -> Path:
        path = self.work / f"{self.verb}-{self.workers}" / name
        path.mkdir(parents=True)
        return path

    def started(self, folder: Path) -> Family:
        # From a folder of its own with the same command, because the table names that.
        command = [sys.executable, "-m", "recsys_posttrain", self.verb]
        command += [str(TESTS / f"{self.stem}.py"), "--dataset", str(self.ratings)]
        command += ["--workers", str(self.workers), "--seeds", "1" if self.verb == "run" else "2"]
        cache = {"RECSYS_POSTTRAIN_CACHE": str(self.work / "cache"), "WANDB_MODE": "disabled"}
        self.starts += 1
        return Family(command, folder, {**os.environ, "OMP_NUM_THREADS": "1", **cache})

    def until_it_ends(self, folder: Path, kills: int) -> None:
        while True:
            family = self.started(folder)
            before, hit = stages(folder / "runs"), None
            if self.kills.total() < kills:
                before, hit = self.hit(family, folder)
            if not wait_until(family.has_ended, MOST_SECONDS):
                self.broken.append(f"{self.name}: it hangs after {hit}")
                family.process.kill()
            code = family.process.wait()
            self.check(family, folder, before, hit, code)
            if code == 0:
                return

    def hit(self, family: Family, folder: Path) -> tuple[dict[str, int], str | None]:
        """What was finished before, and what was sent to whom."""
        self.wait(family, folder)
        number = SIGNALS[self.kills.total() % 3]
        target = self.rng.choice(TARGETS if self.workers > 1 else ("parent", "group"))
        before = stages(folder / "runs")
        if not family.is_running() or not family.hit(number, target, self.rng):
            return before, None
        what = f"{number.name} to the {target}"
        self.kills[what] += 1
        return before, what

    def wait(self, family: Family, folder: Path) -> None:
        """For a random moment: of the start, or after a stage began or ended."""
        if self.rng.random() < 0.25:
            time.sleep(3 * self.rng.random())
            return
        there = _progress(folder)
        wait_until(lambda: not family.is_running() or _progress(folder) != there, MOST_SECONDS)
        time.sleep(0.3 * self.rng.random())

    def check(
        self, family: Family, folder: Path, before: dict[str, int], hit: str | None, code: int
    ) -> None:
        faults = list(self.faults(family, folder, before, hit, code))
        self.broken += [f"{self.name}, {hit}: {each}" for each in faults]
        if faults:
            print("\n".join(family.said().splitlines()[-MOST_LINES:]), flush=True)

    def faults(
        self, family: Family, folder: Path, before: dict[str, int], hit: str | None, code: int
    ) -> Iterator[str]:
        if orphans := family.orphans():
            yield f"{len(orphans)} processes stayed"
        after = stages(folder / "runs")
        if not before.items() <= after.items():
            yield f"lost or made twice: {sorted(dict(before.items() - after.items()))}"
        if strange := unlisted(folder / "runs"):
            yield f"left in finished stages: {strange}"
        try:
            done = outcomes(folder / self.place)
        except AssertionError as error:
            yield str(error)
            done = {}
        if not done.items() <= self.trials.items():
            yield "a trial has another value or setting than undisturbed"
        if code == 0 and tables(folder / self.place) != self.wanted:
            yield "exit code 0, and the tables are not those of an undisturbed run"
        if code == 0 and done != self.trials:
            yield "exit code 0, and not every slot has its outcome"
        said = family.said()
        allowed, is_ours = {0}, "Traceback" in said and "recsys_posttrain" in said
        if hit is not None and hit.endswith("worker"):
            allowed = {0, 2}  # another worker went on; or the command says that one was killed
        elif hit is not None:
            number = next(each for each in SIGNALS if hit.startswith(each.name))
            allowed = ENDED_BY[number] | {0}  # 0: it was done
            if number == signal.SIGINT and (early := codes_if_early(said)):
                allowed, is_ours = early, False
        if is_ours:
            yield f"a traceback: {said.strip().splitlines()[-1]}"
        if code not in allowed:
            yield f"exit code {code}: {said.strip().splitlines()[-1:]}"

    def line(self) -> str:
        kinds = ", ".join(f"{count} {what}" for what, count in sorted(self.kills.items()))
        return (
            f"{self.name}: {self.kills.total()} kills ({kinds}), {self.starts} starts, "
            f"{self.ends} ended with the undisturbed tables, {len(self.broken)} promises broken"
        )


def _progress(folder: Path) -> set[str]:
    runs = folder / "runs"
    return {path.name for path in [*runs.glob(".partial-*"), *runs.glob("stages/*")]}


def drills(work: Path, ratings: Path, kills: int, seed: int) -> list[Drill]:
    """Played, a quarter of the kills each; each says its line."""
    rng, found = random.Random(seed), []
    for place, (verb, workers) in enumerate([("run", 1), ("run", 2), ("sweep", 1), ("sweep", 2)]):
        drill = Drill(verb, workers, work, ratings, rng)
        drill.play(kills // 4 + (place < kills % 4))
        print(drill.line(), flush=True)
        for sentence in drill.broken:
            print(f"BROKEN {sentence}", flush=True)
        found.append(drill)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=150)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--output", type=Path, help="folder for the result")
    arguments = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    from data_factory import write_small_ratings

    began = time.monotonic()
    print(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as name:
        ratings = write_small_ratings(Path(name) / "small.csv")
        played = drills(Path(name), ratings, arguments.kills, arguments.seed)
    broken = [each for drill in played for each in drill.broken]
    result = {
        "seed": arguments.seed,
        "seconds": round(time.monotonic() - began),
        "kills": sum(drill.kills.total() for drill in played),
        "of": {
            drill.name: {
                "kills": dict(sorted(drill.kills.items())),
                "starts": drill.starts,
                "ended with the undisturbed tables": drill.ends,
            }
            for drill in played
        },
        "broken": broken,
    }
    write_result(Path(__file__), result, arguments.output)
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
