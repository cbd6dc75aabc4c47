"""The main comparison: every algorithm from one pretrained SASRec and one reward model.

The rows above these, of methods without training, are those of every study
(recsys_posttrain/studies/baselines.py). Each method's strength, or its length where it has none,
was chosen on ML-100K's validation targets by strengths.py beside this file. A method more is a line
of RUNS. Of ON_REQUEST is run what is asked for by its label:

    make benchmark METHODS=ASFT,DPO
    make benchmark METHODS=ExactPPO    # dear: four times OfflinePPO; for a small catalogue
"""

from dataclasses import replace

from recsys_posttrain.algorithms import (
    ASFT,
    AWAC,
    BC,
    CQL,
    CRR,
    DPO,
    GRPO,
    IPO,
    IQL,
    KTO,
    RWR,
    SA2C,
    SDPO,
    SNQN,
    WBC,
    AdaGRPO,
    ExactPPO,
    ExpRSFT,
    FilteredBC,
    OfflinePPO,
    Pessimistic,
    ReturnConditioned,
    RobustDPO,
    TopKREINFORCE,
)
from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.algorithms.signals import model_reward, reference_value
from recsys_posttrain.studies.run import Run
from recsys_posttrain.training.posttrain import POSTTRAINING

TUNING = "none yet"
BASE = Run(algorithm=BC())


def run(algorithm: Algorithm, name: str = "", steps: int = 100) -> Run:
    return replace(
        BASE, algorithm=algorithm, name=name, posttraining=replace(POSTTRAINING, steps=steps)
    )


RUNS = [
    run(BC()),
    run(FilteredBC()),
    run(RWR()),
    run(ReturnConditioned()),
    run(ExpRSFT(temperature=1.0)),
    run(ASFT(temperature=0.5)),
    run(ASFT(model_reward, reference_value, temperature=1.0), "ASFT(model)"),
    run(DPO(beta=8.0)),
    run(IPO()),
    run(RobustDPO()),
    run(RobustDPO(unbiased=True), "RobustDPO(unbiased)"),
    run(SDPO()),
    run(KTO()),
    run(Pessimistic(DPO()), "Pessimistic(DPO)"),
    run(OfflinePPO(kl_coefficient=1.0)),
    run(GRPO()),
    run(GRPO(scale_rewards=False), "GRPO(Dr)"),
    run(AdaGRPO()),
    run(TopKREINFORCE()),
    run(CQL()),
    run(WBC()),
    run(SNQN()),
    run(SA2C()),
    run(IQL()),
    run(AWAC()),
    run(CRR()),
]
ON_REQUEST = [run(ExactPPO(kl_coefficient=1.0))]

SEEDS = (0,)
