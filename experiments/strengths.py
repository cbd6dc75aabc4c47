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
from noise_vs_quality import LENGTHS, Method

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


def of_length(name: str, algorithm: Algorithm) -> Method:
    return Method(name, dict.fromkeys(LENGTHS, algorithm), steps=LENGTHS)


METHODS = (
    of_length("BC", BC()),
    of_length("FilteredBC", FilteredBC()),
    of_length("RWR", RWR()),
    Method("ExpRSFT", {f"temperature {t:g}": ExpRSFT(temperature=t) for t in TEMPERATURES}),
    Method("ASFT", {f"temperature {t:g}": ASFT(temperature=t) for t in TEMPERATURES}),
    Method(
        "ASFT(model)",
        {
            f"temperature {t:g}": ASFT(model_reward, reference_value, temperature=t)
            for t in TEMPERATURES
        },
    ),
    Method("DPO", {f"beta {b:g}": DPO(beta=b) for b in BETAS}),
    Method("IPO", {f"beta {b:g}": IPO(beta=b) for b in MARGINS}),
    Method("RobustDPO", {f"beta {b:g}": RobustDPO(beta=b) for b in BETAS}),
    Method("RobustDPO(unbiased)", {f"beta {b:g}": RobustDPO(beta=b, unbiased=True) for b in BETAS}),
    Method("SDPO", {f"beta {b:g}": SDPO(beta=b) for b in BETAS}),
    Method("KTO", {f"beta {b:g}": KTO(beta=b) for b in MARGINS}),
    Method("Pessimistic(DPO)", {f"penalty {p:g}": Pessimistic(penalty=p) for p in PENALTIES}),
    Method("OfflinePPO", {f"KL {c:g}": OfflinePPO(kl_coefficient=c) for c in KLS}),
    Method("GRPO", {f"KL {c:g}": GRPO(kl_coefficient=c) for c in KLS}),
    Method("GRPO(Dr)", {f"KL {c:g}": GRPO(scale_rewards=False, kl_coefficient=c) for c in KLS}),
    of_length("TopKREINFORCE", TopKREINFORCE()),
    Method("CQL", {f"alpha {a:g}": CQL(alpha=a) for a in ALPHAS}),
    Method("AdaGRPO", {f"KL {c:g}": AdaGRPO(group=GRPO(kl_coefficient=c)) for c in KLS}),
    Method("SNQN", {f"coefficient {c:g}": SNQN(coefficient=c) for c in COEFFICIENTS}),
    Method("SA2C", {f"coefficient {c:g}": SA2C(coefficient=c) for c in COEFFICIENTS}),
    of_length("ReturnConditioned", ReturnConditioned()),
    of_length("WBC", WBC()),
    Method("IQL", {f"temperature {t:g}": IQL(temperature=t) for t in TEMPERATURES}),
    Method("AWAC", {f"temperature {t:g}": AWAC(temperature=t) for t in TEMPERATURES}),
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
