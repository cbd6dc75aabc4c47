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

TUNING = (
    "four strengths of each method, or four lengths of BC, FilteredBC, RWR, ReturnConditioned, "
    "TopKREINFORCE, WBC and CRR, and up to two more where the best lay at the edge, by NDCG@10 on "
    "liked targets, three of every user, on ML-100K's leave-one-out validation part with seed 0; "
    "still at the edge: BC, FilteredBC, RWR and ReturnConditioned, at the cap of all lengths; "
    "RobustDPO(unbiased) was never better than doing nothing; none for ExactPPO; four trials of BC "
    "on ML-1M for the cap and the rate"
)
BASE = Run(algorithm=BC())


def run(algorithm: Algorithm, name: str = "", steps: int = 100) -> Run:
    """steps: at most 100, the cap of all."""
    plan = replace(POSTTRAINING, steps=steps)
    return replace(BASE, algorithm=algorithm, name=name, posttraining=plan)


RUNS = [
    run(BC()),
    run(FilteredBC()),
    run(RWR()),
    run(ReturnConditioned()),
    run(ExpRSFT(temperature=0.25)),
    run(ASFT(temperature=0.5)),
    run(ASFT(model_reward, reference_value, temperature=1.0), "ASFT(model)"),
    run(DPO(beta=8.0)),
    run(IPO(beta=0.5)),
    run(RobustDPO(beta=2.0)),
    run(RobustDPO(beta=8.0, unbiased=True), "RobustDPO(unbiased)"),
    run(SDPO(beta=8.0)),
    run(KTO(beta=32.0)),
    run(Pessimistic(DPO(beta=8.0), penalty=0.25), "Pessimistic(DPO)"),
    run(OfflinePPO(kl_coefficient=1.0)),
    run(GRPO(kl_coefficient=3.0)),
    run(GRPO(scale_rewards=False, kl_coefficient=1.0), "GRPO(Dr)"),
    run(AdaGRPO(group=GRPO(kl_coefficient=0.1))),
    run(TopKREINFORCE(), steps=25),
    run(CQL(alpha=30.0)),
    run(WBC(), steps=25),
    run(SNQN()),
    run(SA2C()),
    run(IQL(temperature=0.5)),
    run(AWAC(temperature=1.0)),
    run(CRR(), steps=25),
]
ON_REQUEST = [run(ExactPPO(kl_coefficient=1.0))]

SEEDS = (0,)
