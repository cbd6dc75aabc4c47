"""Every algorithm tuned alike, at each noise of the reward model anew, by the sweep's runner:

    recsys-posttrain sweep experiments/sweep_noise.py --dataset ml-1m --workers 2
    make sweep

BC, RWR and ExpRSFT do not ask the reward model, so its errors leave them as they are; ASFT on
observed rewards asks it for its baseline. ItemBias is the kind of error that policies exploit
(noise_vs_quality.py has all kinds).
"""

from recsys_posttrain.algorithms import ASFT, BC, DPO, RWR, ExpRSFT, OfflinePPO
from recsys_posttrain.algorithms.signals import model_reward
from recsys_posttrain.rewards.noise import ItemBias, RewardNoise
from recsys_posttrain.studies.run import Run
from recsys_posttrain.sweep import spaces
from recsys_posttrain.sweep.definition import Method, Sweep

SWEEP = Sweep(
    base=Run(BC()),
    methods=(
        Method(BC(), spaces.BC),
        Method(RWR(), spaces.RWR),
        Method(ExpRSFT(), spaces.EXP_RSFT),
        Method(ASFT(), spaces.ASFT, asks_model=True),
        Method(ASFT(model_reward), spaces.ASFT, "ASFT(model)", asks_model=True),
        Method(OfflinePPO(), spaces.OFFLINE_PPO, asks_model=True),
        Method(DPO(), spaces.DPO, asks_model=True),
    ),
    noise=(
        RewardNoise(),
        RewardNoise(model=ItemBias(0.6)),
        RewardNoise(model=ItemBias(1.2)),
    ),
    trials=16,
    seeds=(0, 1, 2, 3, 4),
)
