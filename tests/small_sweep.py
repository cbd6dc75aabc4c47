"""The sweep of tests/sweep and of benchmarks/kills.py: four cells, seconds in all."""

from small_study import BASE

from recsys_posttrain.algorithms import ExpRSFT, OfflinePPO
from recsys_posttrain.rewards.noise import ItemBias, RewardNoise
from recsys_posttrain.sweep.definition import Method, Sweep
from recsys_posttrain.sweep.space import Between

RATE = {"posttraining.learning_rate": Between(1e-3, 0.1, log=True)}

SWEEP = Sweep(
    base=BASE,
    methods=(
        Method(BASE.algorithm, RATE | {"posttraining.weight_decay": Between(0.0, 0.3)}),
        Method(ExpRSFT(), RATE | {"algorithm.temperature": Between(0.25, 4.0, log=True)}),
        Method(
            OfflinePPO(samples=2, refresh_every=3),
            RATE | {"algorithm.kl_coefficient": Between(0.03, 3.0, log=True)},
            asks_model=True,
        ),
    ),
    noise=(RewardNoise(), RewardNoise(model=ItemBias(1.0))),
    trials=3,
    seeds=(0, 1),
)
