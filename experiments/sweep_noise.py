"""Every algorithm tuned alike, at each noise of the reward model anew, by the sweep's runner:

    recsys-posttrain sweep experiments/sweep_noise.py --dataset ml-1m --workers 2
    make sweep

BC, RWR and ExpRSFT do not ask the reward model, so its errors leave them as they are; ASFT on
observed rewards asks it for its baseline. ItemBias is an error that a policy can represent
(noise_vs_quality.py has all kinds).
"""

from recsys_posttrain.algorithms import (
    ASFT,
    BC,
    DPO,
    IPO,
    KTO,
    RWR,
    SDPO,
    ExpRSFT,
    OfflinePPO,
    Pessimistic,
    RobustDPO,
)
from recsys_posttrain.algorithms.signals import model_reward
from recsys_posttrain.rewards.noise import ItemBias, RewardNoise
from recsys_posttrain.studies.run import Run
from recsys_posttrain.sweep.definition import Method, Sweep
from recsys_posttrain.sweep.space import Between, Space

# Three fields each: a length, which is a share of the base's steps, the cap of all; a rate; and a
# strength of its own, in units of ratings 1..5. BC and RWR have none and search the weight decay.
PLAN: Space = {
    "posttraining.steps": Between(0.125, 1.0, log=True, share=True),
    "posttraining.learning_rate": Between(1e-4, 1e-3, log=True),
}
DECAY: Space = {**PLAN, "posttraining.weight_decay": Between(1e-4, 0.3, log=True)}
TEMPERATURE: Space = {**PLAN, "algorithm.temperature": Between(0.25, 4.0, log=True)}
KL: Space = {**PLAN, "algorithm.kl_coefficient": Between(0.03, 3.0, log=True)}
BETA: Space = {**PLAN, "algorithm.beta": Between(0.1, 16.0, log=True)}
PENALTY: Space = {**PLAN, "algorithm.penalty": Between(0.1, 10.0, log=True)}

# Further methods with their spaces; add those to SWEEP that are to be compared.
OF_PREFERENCES = (
    Method(IPO(), BETA, asks_model=True),
    Method(RobustDPO(), BETA, asks_model=True),
    Method(RobustDPO(unbiased=True), BETA, "RobustDPO(unbiased)", asks_model=True),
    Method(SDPO(), BETA, asks_model=True),
    Method(KTO(), BETA),
    Method(Pessimistic(), PENALTY, "Pessimistic(DPO)", asks_model=True),
)

SWEEP = Sweep(
    base=Run(BC()),
    methods=(
        Method(BC(), DECAY),
        Method(RWR(), DECAY),
        Method(ExpRSFT(), TEMPERATURE),
        Method(ASFT(), TEMPERATURE, asks_model=True),
        Method(ASFT(model_reward), TEMPERATURE, "ASFT(model)", asks_model=True),
        Method(OfflinePPO(), KL, asks_model=True),
        Method(DPO(), BETA, asks_model=True),
    ),
    noise=(
        RewardNoise(),
        RewardNoise(model=ItemBias(0.6)),
        RewardNoise(model=ItemBias(1.2)),
    ),
    trials=16,
    seeds=(0, 1, 2, 3, 4),
)
