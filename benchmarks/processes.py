"""Events per second of training in several processes of one thread, against one of one thread.

    python benchmarks/processes.py [--data-root ml-1m.zip] [--processes 2] [--steps 60] [--rounds 3]

SASRec on ML-1M, without validation: pretraining with its batches of 32 sequences and with 128, and
OfflinePPO with its 64 and with 256. Timed in the first process from step 10 on, so that starting
the others does not count. Both take turns; the median ratio is reported, and of pretraining the
largest difference between their losses, without dropout, over the same steps (OfflinePPO draws).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback
from shared.workload import ml_1m_or_synthetic, parsed, parser_of, show_result

from recsys_posttrain.algorithms import OfflinePPO
from recsys_posttrain.models.policy import Policy, new_policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.training.posttrain import POSTTRAINING, posttrain
from recsys_posttrain.training.pretrain import PRETRAINING, pretrain
from recsys_posttrain.training.reward import train_reward
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


def pretrained(data: Split, plan: Training, processes: int, dropout: float = 0.1) -> Clock:
    clock, backbone = Clock(), SASRec(max_length=200, dropout=dropout)
    torch.set_num_threads(processes)
    pretrain(data, backbone, plan, devices=processes, callbacks=[clock])
    return clock


def posttrained(
    data: Split, policy: Policy, reward: RewardModel, plan: Training, processes: int
) -> Clock:
    clock = Clock()
    torch.set_num_threads(processes)
    given = deepcopy(policy), data, OfflinePPO(), reward, plan
    posttrain(*given, devices=processes, callbacks=[clock])
    return clock


def main() -> None:
    parser = parser_of(__doc__, reads_data=True, processes=2, steps=60, rounds=3)
    arguments = parsed(parser)
    data = ml_1m_or_synthetic(arguments.data_root)
    policy = new_policy(SASRec(max_length=200), data.corpus.num_items, seed=0)
    policy.item_ids = data.corpus.item_ids
    reward, _ = train_reward(data, RewardFactors(rounds=2))
    short = {"steps": arguments.steps, "epochs": None, "validation_steps": 10**6}
    points = []
    for size in (32, 128):
        plan = replace(PRETRAINING, batch_size=size, **short)
        work = partial(pretrained, data, plan)
        losses = [work(each, dropout=0.0).losses for each in (1, arguments.processes)]
        difference = max(abs(a - b) for a, b in zip(*losses, strict=True))
        found = point("pretraining", size, work, arguments)
        points.append({**found, "largest_difference_of_losses": difference})
    for size in (64, 256):
        plan = replace(POSTTRAINING, batch_size=size, **short)
        work = partial(posttrained, data, policy, reward, plan)
        points.append(point("OfflinePPO", size, work, arguments))
    result = {"dataset": data.corpus.name, "processes": arguments.processes, "points": points}
    show_result(Path(__file__), result)


def point(
    stage: str, batch_size: int, work: Callable[[int], Clock], arguments: argparse.Namespace
) -> dict[str, Any]:
    kinds = (1, arguments.processes)
    seconds: dict[int, list[float]] = {each: [] for each in kinds}
    for _ in range(arguments.rounds):
        for each in kinds:
            times = work(each).times
            seconds[each].append(times[-2] - times[FIRST])  # the last one validates
            print(
                f"{stage}, batches of {batch_size}, {each}: {seconds[each][-1]:.1f} s", flush=True
            )
    ratios = [one / several for one, several in zip(*seconds.values(), strict=True)]
    return {
        "stage": stage,
        "batch_size": batch_size,
        "steps": arguments.steps - FIRST - 1,
        "seconds": {str(each): [round(value, 2) for value in seconds[each]] for each in kinds},
        "ratio_median": round(statistics.median(ratios), 3),
    }


if __name__ == "__main__":
    main()
