"""Which strength for each method of the main study? The same number of trials for all of them:

    recsys-posttrain run experiments/strengths.py --dataset ml-100k --eval-split validation

Four strengths of each method and, where the best of them lies at the edge, up to two more on that
side; doing nothing is a candidate too. Methods without a strength get four lengths in its place,
from an eighth of the steps to all of them, the cap of every method. Chosen by NDCG@10 of liked
validation targets, the three events of every user before the test target, which is not looked at.
movielens_main.py has what was chosen, README.md beside this file what it was worth.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from noise_vs_quality import ladder, of_length

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
from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.studies.choose import extended
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.posttrain import POSTTRAINING

POSITIONS = 3  # validation targets of a user
TRIALS = 4  # of each method, before edges are extended
# Of each strength, from weak to strong: two to extend to, the four that begin, two to extend to.
TEMPERATURES = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)
KLS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
BETAS = (512.0, 128.0, 32.0, 8.0, 2.0, 0.5, 0.125, 0.03125)
MARGINS = (128.0, 32.0, 8.0, 2.0, 0.5, 0.125, 0.03125, 0.0078125)
ALPHAS = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
COEFFICIENTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
PENALTIES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


METHODS = (
    of_length("BC", BC()),
    of_length("FilteredBC", FilteredBC()),
    of_length("RWR", RWR()),
    ladder("ExpRSFT", "temperature", TEMPERATURES, lambda t: ExpRSFT(temperature=t)),
    ladder("ASFT", "temperature", TEMPERATURES, lambda t: ASFT(temperature=t)),
    ladder(
        "ASFT(model)",
        "temperature",
        TEMPERATURES,
        lambda t: ASFT(model_reward, reference_value, temperature=t),
    ),
    ladder("DPO", "beta", BETAS, lambda b: DPO(beta=b)),
    ladder("IPO", "beta", MARGINS, lambda b: IPO(beta=b)),
    ladder("RobustDPO", "beta", BETAS, lambda b: RobustDPO(beta=b)),
    ladder("RobustDPO(unbiased)", "beta", BETAS, lambda b: RobustDPO(beta=b, unbiased=True)),
    ladder("SDPO", "beta", BETAS, lambda b: SDPO(beta=b)),
    ladder("KTO", "beta", MARGINS, lambda b: KTO(beta=b)),
    ladder("Pessimistic(DPO)", "penalty", PENALTIES, lambda p: Pessimistic(penalty=p)),
    ladder("OfflinePPO", "KL", KLS, lambda c: OfflinePPO(kl_coefficient=c)),
    ladder("GRPO", "KL", KLS, lambda c: GRPO(kl_coefficient=c)),
    ladder("GRPO(Dr)", "KL", KLS, lambda c: GRPO(scale_rewards=False, kl_coefficient=c)),
    of_length("TopKREINFORCE", TopKREINFORCE()),
    ladder("CQL", "alpha", ALPHAS, lambda a: CQL(alpha=a)),
    ladder("AdaGRPO", "KL", KLS, lambda c: AdaGRPO(group=GRPO(kl_coefficient=c))),
    ladder("SNQN", "coefficient", COEFFICIENTS, lambda c: SNQN(coefficient=c)),
    ladder("SA2C", "coefficient", COEFFICIENTS, lambda c: SA2C(coefficient=c)),
    of_length("ReturnConditioned", ReturnConditioned()),
    of_length("WBC", WBC()),
    ladder("IQL", "temperature", TEMPERATURES, lambda t: IQL(temperature=t)),
    ladder("AWAC", "temperature", TEMPERATURES, lambda t: AWAC(temperature=t)),
    of_length("CRR", CRR()),
)
# Validated at the end alone: as long as there is no patience, what is in between decides nothing.
BASE = Run(
    BC(),
    Setup(split=LeaveOneOut(validation_positions=POSITIONS)),
    posttraining=replace(POSTTRAINING, validation_steps=100),
)


def next_runs(runs: Sequence[Run], tried: Sequence[Run], validation: pd.DataFrame) -> Sequence[Run]:
    """TRIALS of each method, then the next ones where the best lies at the edge."""
    first = set()
    for method in METHODS:
        ladder = list(method.strengths)
        start = min(2, len(ladder) - TRIALS)  # no length is above that of all
        first |= {(method.name, strength) for strength in ladder[start : start + TRIALS]}

    def is_first(run: Run) -> bool:
        return not run.is_trained or (run.label, run.strength) in first

    return extended(runs, tried, validation, is_first)


RUNS = [run for method in METHODS for run in method.runs(BASE)]
NEXT_RUNS = next_runs
BASELINES: list[Algorithm] = []
TUNING = (
    "four strengths of each method, or four lengths of one without a strength, and up to two more "
    "where the best lies at the edge, by NDCG@10 of liked validation targets; doing nothing is a "
    "candidate too"
)
