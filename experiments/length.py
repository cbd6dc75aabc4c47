"""How long and how fast is post-training? Chosen for BC, on validation targets only, for all:

recsys-posttrain run experiments/length.py --dataset ml-1m --on validation
"""

from dataclasses import replace

from recsys_posttrain.algorithms import BC
from recsys_posttrain.studies.run import Run
from recsys_posttrain.training.posttrain import POSTTRAINING

BASE = Run(algorithm=BC())
TUNING = "this table is the tuning: four trials of BC"

RUNS = [
    replace(
        BASE,
        name=f"BC {steps} steps at {rate:g}",
        posttraining=replace(POSTTRAINING, steps=steps, learning_rate=rate),
    )
    for steps in (100, 200)
    for rate in (3e-4, 1e-3)
]
