"""How long and fast may post-training be in a world? Chosen before any method is compared.

    recsys-posttrain run experiments/cap.py --dataset jester --seeds 1 --eval-split validation

A few methods, one of each kind, each with a strength that leaves it room, at several lengths and
rates. What is read is where the lists of validation users stop to gain by the judge. The last rows
train on the true reward: they say whether a length lets lists move at all, and choose nothing.
"""

from collections.abc import Iterator
from dataclasses import replace

from noise_vs_quality import FREE_PPO, base_of

from recsys_posttrain.algorithms import ASFT, DPO, ExpRSFT
from recsys_posttrain.algorithms.signals import model_reward, reference_value
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.rewards.control import TrueRewards
from recsys_posttrain.studies.controls import ONLINE_RL
from recsys_posttrain.studies.run import Run
from recsys_posttrain.worlds.jester import Jester

# Optimiser steps, histories in each, learning rate.
LENGTHS = ((200, 16, 1e-3), (200, 16, 3e-3), (200, 16, 1e-2), (800, 16, 1e-3), (800, 64, 1e-3))


def runs_on(dataset: Dataset = Jester()) -> Iterator[Run]:
    base = base_of(dataset)
    kinds = (
        replace(base, name="BC"),
        replace(base, name="ExpRSFT", algorithm=ExpRSFT(temperature=0.5)),
        replace(
            base,
            name="ASFT(model)",
            algorithm=ASFT(model_reward, reference_value, temperature=0.25),
        ),
        replace(base, name="OfflinePPO", algorithm=FREE_PPO),
        replace(base, name="DPO", algorithm=DPO(beta=0.5)),
        replace(base, name="OfflinePPO, true reward", algorithm=FREE_PPO, control=TrueRewards()),
        replace(base, name="OnlineRL", algorithm=ONLINE_RL, control=TrueRewards()),
    )
    for steps, histories, rate in LENGTHS:
        plan = replace(base.posttraining, steps=steps, batch_size=histories, learning_rate=rate)
        for run in kinds:
            name = f"{run.label}, {steps} x {histories} at {rate:g}"
            yield replace(run, name=name, posttraining=plan)


def RUNS(dataset: Dataset = Jester()) -> list[Run]:
    return list(runs_on(dataset))
