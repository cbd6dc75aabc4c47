"""Which strength for each algorithm? Three trials each, looked at on validation targets only:

    recsys-posttrain sweep experiments/strengths.py --dataset ml-1m

BC and RWR have no strength. The main study takes the trial with the highest NDCG@10 on liked
validation targets; what was chosen is in README.md beside this file.
"""

from recsys_posttrain.algorithms import ASFT, BC, DPO, RWR, ExpRSFT, OfflinePPO
from recsys_posttrain.algorithms.signals import model_reward, reference_value
from recsys_posttrain.studies.run import Run
from recsys_posttrain.sweep.definition import Method, Sweep
from recsys_posttrain.sweep.sampler import Grid
from recsys_posttrain.sweep.space import OneOf

TEMPERATURE = {"algorithm.temperature": OneOf((0.5, 1.0, 2.0))}

SWEEP = Sweep(
    base=Run(algorithm=BC()),
    methods=(
        Method(BC(), {}),
        Method(RWR(), {}),
        Method(ExpRSFT(), TEMPERATURE),
        Method(ASFT(), TEMPERATURE),
        Method(ASFT(model_reward, reference_value), TEMPERATURE, "ASFT(model)"),
        Method(OfflinePPO(), {"algorithm.kl_coefficient": OneOf((0.5, 1.0, 2.0))}),
        Method(DPO(), {"algorithm.beta": OneOf((0.5, 2.0, 8.0))}),
    ),
    sampler=Grid(),
    tuning_seeds=(0,),
    seeds=(),
)
