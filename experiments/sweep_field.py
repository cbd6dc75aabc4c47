"""The value and group methods, tuned with the budget of sweep_noise.py, whose methods these join:

    recsys-posttrain sweep experiments/sweep_field.py --dataset ml-1m --workers 2

As there, each method searches a length, a rate and a strength of its own.
"""

from dataclasses import replace

from sweep_noise import DECAY, KL, PLAN, SWEEP, TEMPERATURE

from recsys_posttrain.algorithms import (
    AWAC,
    BC,
    CQL,
    CRR,
    GRPO,
    IQL,
    SA2C,
    SNQN,
    WBC,
    AdaGRPO,
    ReturnConditioned,
    TopKREINFORCE,
)
from recsys_posttrain.algorithms.q_learning import QLearning
from recsys_posttrain.sweep.definition import Method
from recsys_posttrain.sweep.space import Between, OneOf, Space

ALPHA: Space = {**PLAN, "algorithm.alpha": Between(0.1, 10.0, log=True)}
CAP: Space = {**PLAN, "algorithm.weight_cap": OneOf((1.0, 3.0, 10.0, 30.0))}
COEFFICIENT: Space = {**PLAN, "algorithm.coefficient": Between(0.01, 1.0, log=True)}
GROUP_KL: Space = {**PLAN, "algorithm.group.kl_coefficient": Between(0.03, 3.0, log=True)}

SWEEP = replace(
    SWEEP,
    methods=(
        Method(BC(), DECAY),
        Method(CQL(), ALPHA),
        Method(WBC(), DECAY),
        Method(TopKREINFORCE(), CAP, asks_model=True),
        Method(IQL(), TEMPERATURE, asks_model=True),
        Method(AWAC(), TEMPERATURE, asks_model=True),
        Method(CRR(temperature=1.0), TEMPERATURE, asks_model=True),
        Method(GRPO(), KL, asks_model=True),
        Method(GRPO(scale_rewards=False), KL, "GRPO(Dr)", asks_model=True),
        Method(AdaGRPO(), GROUP_KL, asks_model=True),
        Method(SNQN(), COEFFICIENT),
        Method(SNQN(q=QLearning(random_targets=True)), COEFFICIENT, "SNQN(random)"),
        Method(SA2C(), COEFFICIENT),
        Method(ReturnConditioned(), DECAY),
    ),
)
