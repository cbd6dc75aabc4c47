"""The main comparison: every algorithm from one pretrained SASRec, one reward model, equal steps.

The rows above these, of methods without training and of FilteredBC, are those of every study
(recsys_posttrain/studies/baselines.py). Length, rate and strengths were chosen on ML-1M's
validation targets by length.py and strengths.py beside this file. ExactPPO is left out because it
costs four times OfflinePPO; add it for a small catalogue.
"""

from dataclasses import replace

from recsys_posttrain.algorithms import ASFT, BC, DPO, RWR, ExpRSFT, OfflinePPO
from recsys_posttrain.algorithms.signals import model_reward, reference_value
from recsys_posttrain.studies.run import Run

TUNING = (
    "three trials for each algorithm that has a strength, by NDCG@10 on liked targets, and four of "
    "BC for the common length and rate; all on ML-1M's leave-one-out validation targets with seed 0"
)
BASE = Run(algorithm=BC())

RUNS = [
    BASE,
    replace(BASE, algorithm=RWR()),
    replace(BASE, algorithm=ExpRSFT(temperature=1.0)),
    replace(BASE, algorithm=ASFT(temperature=0.5)),
    replace(
        BASE, name="ASFT(model)", algorithm=ASFT(model_reward, reference_value, temperature=1.0)
    ),
    replace(BASE, algorithm=OfflinePPO(kl_coefficient=1.0)),
    replace(BASE, algorithm=DPO(beta=8.0)),
]

SEEDS = (0,)
