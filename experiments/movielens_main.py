"""The main comparison: every algorithm from one pretrained SASRec, one reward model, equal steps.

Settings are each algorithm's defaults, without trials; the tables say how the rest was set.
ExactPPO is left out because it costs four times OfflinePPO; add it for a small catalogue.
"""

from dataclasses import replace

from recsys_posttrain.algorithms import ASFT, BC, DPO, RWR, ExpRSFT, OfflinePPO
from recsys_posttrain.run import Run
from recsys_posttrain.signals import model_reward, reference_value

BASE = Run(algorithm=BC())

RUNS = [
    BASE,
    replace(BASE, algorithm=RWR()),
    replace(BASE, algorithm=ExpRSFT()),
    replace(BASE, algorithm=ASFT()),
    replace(BASE, name="ASFT-model", algorithm=ASFT(reward=model_reward, baseline=reference_value)),
    replace(BASE, algorithm=OfflinePPO()),
    replace(BASE, algorithm=DPO()),
]

SEEDS = (0,)
