"""Our training step and top-10 lists against RecTools, RePlay and RecBole, in turns in one call.

    make bench-peers
    python benchmarks/peers.py [--data-root ml-1m.zip] [--threads 2] [--rounds 6] [--steps 4]

Every side is a process that stays alive, with the same interactions, and does one round when told;
the others wait. SASRec of width 64, 2 blocks, 1 head, length 200, batch 128, softmax over the whole
catalogue; each side's own step, trainer and loader, in float32 unless the side decides otherwise.
Events are real targets, not padding. The first step of a round and the first round are not counted.
A side that cannot be started or fails is reported with its reason, and the rest goes on.

Each peer is set against ours of the same architecture and loss (OPPONENTS). `ours` has a feed-
forward of 256, as `rectools-fast` has, which is RecTools' `fast_transformers`; `ours-64` has one of
64, as the others. `gbce` is the loss of gSASRec with 256 negatives, which RecTools draws for each
position and ours for each step; `hstu` is HSTU without times. `replay-buckets` is RePlay with its
own length buckets of 16 rows switched on. Meta's own HSTU needs a GPU's kernels and is not here.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import torch
from shared.floor import flops_per_event, matmul_gflops
from shared.peer_ratios import ratios
from shared.workload import machine, ml_1m_or_synthetic, parsed, parser_of, write_result

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from side import BATCH_SIZE, BLOCKS, DROPOUT, HEADS, LENGTH, TOP, WIDTH, Log

ROOT = Path(__file__).resolve().parents[1]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
SIDES = {
    "ours": ("with_ours.py",),
    "ours-64": ("with_ours.py", "64"),
    "ours-gbce": ("with_ours.py", "gbce"),
    "ours-hstu": ("with_ours.py", "hstu"),
    "rectools": ("with_rectools.py",),
    "rectools-fast": ("with_rectools_fast.py",),
    "rectools-gbce": ("with_rectools.py", "gbce"),
    "rectools-hstu": ("with_rectools.py", "hstu"),
    "replay": ("with_replay.py",),
    "replay-buckets": ("with_replay.py", "16"),
    "recbole": ("with_recbole.py",),
}
OPPONENTS = {
    "rectools": "ours-64",
    "rectools-fast": "ours",
    "rectools-gbce": "ours-gbce",
    "rectools-hstu": "ours-hstu",
    "replay": "ours-64",
    "replay-buckets": "ours-64",
    "recbole": "ours-64",
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
KINDS = ("train", "recommend", "recommend_core")


class SideProcess:
    """A side in its own interpreter; `ask` raises RuntimeError with the reason in one line."""

    def __init__(self, name: str, log: Path, threads: int, patience: float) -> None:
        script, *words = SIDES[name]
        python = Path(sys.executable) if name.startswith("ours") else PEERS_PYTHON
        if not python.exists():
            raise RuntimeError("its environment does not exist: run make bench-peers")
        self.patience = patience
        self.complaints = (log.parent / f"{name}.stderr").open("w+")
        here = [str(ROOT)] if name.startswith("ours") else []
        self.process = subprocess.Popen(
            [python, ROOT / "benchmarks" / "peers" / script, log, str(threads), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            text=True,
            cwd=log.parent,  # some write logs where they are
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": ":".join(here)},
        )
        self.facts: dict[str, Any] = self._answer()["ready"]

    def ask(self, request: str) -> dict[str, float]:
        assert self.process.stdin is not None
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        timer = threading.Timer(self.patience, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        if not line:
            code = self.process.wait()
            self.complaints.seek(0)
            said = self.complaints.read().strip().splitlines()
            raise RuntimeError(f"exit code {code}: {said[-1][:300] if said else 'no message'}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.complaints.close()


class Sides:
    """All sides that still answer. failed: why a side is out. measured: a value for each kind, side
    and round, as `KINDS` names them: events per second, or seconds."""

    def __init__(self, names: list[str], log: Path, threads: int, patience: float) -> None:
        self.failed: dict[str, str] = {}
        self.running: dict[str, SideProcess] = {}
        self.measured: dict[str, dict[str, list[float]]] = {kind: {} for kind in KINDS}
        for name in names:
            try:
                self.running[name] = SideProcess(name, log, threads, patience)
            except RuntimeError as error:
                self._drop(name, "start", error)

    def _drop(self, name: str, what: str, error: Exception) -> None:
        self.failed[f"{name}: {what}"] = str(error)
        print(f"  {name}: {what}: {error}")

    def round(self, steps: int, counted: bool) -> None:
        for name, side in self.running.items():
            self._do(name, side, "train", f"train {steps}", counted)
        for name, side in self.running.items():
            self._do(name, side, "recommend", "recommend", counted)

    def _do(self, name: str, side: SideProcess, what: str, request: str, counted: bool) -> None:
        if f"{name}: {what}" in self.failed:
            return
        try:
            answer = side.ask(request)
        except (RuntimeError, OSError) as error:
            self._drop(name, what, error)
            return
        if what == "train":
            values = {"train": answer["events"] / answer["seconds"]}
        else:
            values = {"recommend": answer["seconds"], "recommend_core": answer["core_seconds"]}
        print(f"  {name:<15} " + ", ".join(f"{kind} {v:,.2f}" for kind, v in values.items()))
        for kind, value in values.items() if counted else ():
            self.measured[kind].setdefault(name, []).append(value)

    def close(self) -> None:
        for side in self.running.values():
            side.close()


def medians(values: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(each) for name, each in values.items() if each}


def floor_of(log: Log, facts: dict[str, Any], gflops: dict[str, float], rate: float) -> Any:
    """How fast the products of this side's SASRec could be, and the share of it that it reaches."""
    lengths = (log.train_offsets[1:] - log.train_offsets[:-1]).clip(max=LENGTH + 1) - 1
    flops = flops_per_event(
        lengths[lengths > 0], WIDTH, facts["feed_forward"], BLOCKS, facts["items"]
    )
    floors = {name: each * 1e9 / flops for name, each in gflops.items()}
    return {
        "flops_per_event": round(flops),
        "floor_events_per_second": {name: round(each) for name, each in floors.items()},
        "fraction_of_floor": {name: round(rate / each, 3) for name, each in floors.items()},
    }


def picture(result: dict[str, Any], path: Path) -> None:
    from shared.pictures import bars

    from recsys_posttrain.report.figures import panels, save

    figure, (left, right) = panels(1, 2, width=6, height=3.6)
    rate, seconds = result["events_per_second_median"], result["recommend_seconds_median"]
    bars(
        left,
        rate,
        {name: f"{value:,.0f}" for name, value in rate.items()},
        "training, real events per second (higher is better)",
    )
    if seconds:
        bars(
            right,
            seconds,
            {name: f"{value:.2f} s" for name, value in seconds.items()},
            f"top {TOP} for {result['users']:,} users, seconds (lower is better)",
        )
    save(figure, path)


def main() -> None:
    parser = parser_of(__doc__, reads_data=True, rounds=6)
    parser.add_argument("--steps", type=int, default=4, help="counted training steps in a round")
    parser.add_argument("--sides", default=",".join(SIDES), help="default: all of them")
    parser.add_argument("--patience", type=float, default=600, help="seconds to wait for an answer")
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)  # a folder, for tests
    arguments = parsed(parser)
    sys.stdout.reconfigure(line_buffering=True)  # minutes pass between lines

    data = ml_1m_or_synthetic(arguments.data_root)
    histories = data.test.history
    log = Log(
        data.corpus.num_items,
        *(data.train.items_E.numpy(), data.train.offsets_N1.numpy()),
        *(histories.items_E.numpy(), histories.offsets_N1.numpy()),
    )
    print(f"{data.corpus.name}: {len(histories):,} users; {machine()}")
    gflops: dict[str, list[float]] = {name: [] for name in DTYPES}
    with tempfile.TemporaryDirectory() as folder:
        log.save(Path(folder, "log.npz"))
        sides = Sides(
            arguments.sides.split(","),
            Path(folder, "log.npz"),
            arguments.threads,
            arguments.patience,
        )
        try:
            for number in range(arguments.rounds + 1):
                print(f"round {number}" if number else "warm-up")
                for name, dtype in DTYPES.items() if number else ():
                    gflops[name].append(matmul_gflops(dtype))
                sides.round(arguments.steps if number else 1, counted=bool(number))
        finally:
            sides.close()
    rate = medians(sides.measured["train"])
    matmul = medians(gflops)
    result = {
        "dataset": data.corpus.name,
        "users": len(histories),
        "setting": {
            "width": WIDTH,
            "blocks": BLOCKS,
            "heads": HEADS,
            "length": LENGTH,
            "batch": BATCH_SIZE,
            "dropout": DROPOUT,
            "loss": "softmax over the catalogue, where the name does not say gbce",
        },
        "rounds": arguments.rounds,
        "steps_per_round": arguments.steps,
        "events_per_second_median": {name: round(value) for name, value in rate.items()},
        "recommend_seconds_median": {
            name: round(value, 3) for name, value in medians(sides.measured["recommend"]).items()
        },
        "recommend_core_seconds_median": {
            name: round(value, 3)
            for name, value in medians(sides.measured["recommend_core"]).items()
        },
        "ratios": ratios(sides.measured, OPPONENTS),
        "matmul_gflops_median": {name: round(value) for name, value in matmul.items()},
        "floor": {
            name: floor_of(log, sides.running[name].facts, matmul, value)
            for name, value in rate.items()
            if sides.running[name].facts["feed_forward"] and not name.endswith("gbce")
        },
        "sides": {name: side.facts for name, side in sides.running.items()},
        "failed": sides.failed,
        "measured": {
            kind: {name: [float(f"{value:.5g}") for value in each] for name, each in values.items()}
            for kind, values in sides.measured.items()
        },
    }
    print(json.dumps({name: result[name] for name in result if name != "measured"}, indent=2))
    write_result(Path(__file__), result, arguments.output)
    if rate:
        folder = arguments.output or Path(__file__).parent / "results"
        picture(result, folder / "peers.png")


if __name__ == "__main__":
    main()
