"""Events per second of pretraining in several processes of one thread, against one of one thread.

    python benchmarks/processes.py [--data-root ml-1m.zip] [--processes 2] [--steps 60] [--rounds 3]

The default plan on ML-1M, without validation, with its batches of 32 sequences and with 128, timed
in the first process from step 10 on, so that starting the others does not count. Both take turns;
the median ratio is reported, and the largest difference between their losses, without dropout, over
the same steps.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback
from shared.workload import ml_1m_or_synthetic, parsed, parser_of, show_result

from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.training.pretrain import PRETRAINING, pretrain
from recsys_posttrain.types import Split

FIRST = 10  # steps that allocate and compile


class Clock(Callback):
    """When each step ended, and its loss."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.times.append(time.perf_counter())
        self.losses.append(float(module.latest["loss"]))


def measured(data: Split, processes: int, steps: int, batch_size: int, dropout: float) -> Clock:
    """Of processes with one thread each."""
    torch.set_num_threads(processes)
    plan = replace(
        PRETRAINING, steps=steps, epochs=None, validation_steps=10**6, batch_size=batch_size
    )
    clock = Clock()
    pretrain(
        data, SASRec(max_length=200, dropout=dropout), plan, devices=processes, callbacks=[clock]
    )
    return clock


def main() -> None:
    parser = parser_of(__doc__, reads_data=True, processes=2, steps=60, rounds=3)
    arguments = parsed(parser)
    data = ml_1m_or_synthetic(arguments.data_root)
    points = [point(data, size, arguments) for size in (32, 128)]
    result = {"dataset": data.corpus.name, "processes": arguments.processes, "points": points}
    show_result(Path(__file__), result)


def point(data: Split, batch_size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    kinds, steps = (1, arguments.processes), arguments.steps
    seconds: dict[int, list[float]] = {each: [] for each in kinds}
    for _ in range(arguments.rounds):
        for each in kinds:
            clock = measured(data, each, steps, batch_size, 0.1)
            seconds[each].append(clock.times[-1] - clock.times[FIRST])
            print(
                f"batches of {batch_size}, {each} processes: {seconds[each][-1]:.1f} s", flush=True
            )
    losses = [measured(data, each, steps, batch_size, 0.0).losses for each in kinds]
    ratios = [one / several for one, several in zip(*seconds.values(), strict=True)]
    return {
        "batch_size": batch_size,
        "steps": steps - FIRST,
        "seconds": {str(each): [round(value, 2) for value in seconds[each]] for each in kinds},
        "ratio_median": round(statistics.median(ratios), 3),
        "largest_difference_of_losses": max(abs(a - b) for a, b in zip(*losses, strict=True)),
    }


if __name__ == "__main__":
    main()
