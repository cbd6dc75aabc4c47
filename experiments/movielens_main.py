"""The main comparison: every algorithm from one pretrained SASRec, one reward model, equal steps.

Defaults are each algorithm's own; nothing here was tuned on anything (the tables say so).
"""

from dataclasses import replace

from recsys_posttrain.algorithms import ASFT, BC, DPO, RWR, ExactPPO, ExpRSFT, OfflinePPO
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
    replace(BASE, algorithm=ExactPPO()),
    replace(BASE, algorithm=DPO()),
]

SEEDS = (0,)
