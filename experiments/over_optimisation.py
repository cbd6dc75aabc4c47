"""How far may a policy go? What its reward model promises and what it is worth, on the way.

    recsys-posttrain run experiments/over_optimisation.py --seeds 3

Four algorithms at the strongest setting of each, with a good reward model and with two that have a
bias for each item, which every policy can see. Weights are kept at ten steps; besides the table
there is a curve for each run (over_optimisation.md and .png).
"""

from dataclasses import replace

from noise_vs_quality import base_of

from recsys_posttrain.algorithms import ASFT, DPO, ExpRSFT, OfflinePPO
from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.algorithms.signals import model_reward, reference_value
from recsys_posttrain.rewards.noise import ItemBias, RewardNoise
from recsys_posttrain.studies.run import Run
from recsys_posttrain.worlds.jester import Jester

BASE = base_of(Jester())
BASE = replace(BASE, posttraining=replace(BASE.posttraining, snapshots=10))
LEVELS = (0.0, 0.6, 1.2)
ALGORITHMS: dict[str, Algorithm] = {
    "ASFT(model)": ASFT(model_reward, reference_value, temperature=0.25),
    "DPO": DPO(beta=0.1),
    "OfflinePPO": OfflinePPO(kl_coefficient=0.03),
}
TUNING = "none: the strongest setting of the grid of noise_vs_quality.py"


def _named(name: str, level: float) -> str:
    return f"{name}, item bias {level:g}" if level else name


RUNS: list[Run] = [
    BASE,
    replace(BASE, algorithm=ExpRSFT(temperature=0.5)),
    replace(BASE, algorithm=ASFT(temperature=0.5)),
    *(
        replace(
            BASE,
            name=_named(name, level),
            algorithm=algorithm,
            noise=RewardNoise(model=ItemBias(level)),
        )
        for name, algorithm in ALGORITHMS.items()
        for level in LEVELS
    ),
]
SEEDS = (0, 1, 2)
