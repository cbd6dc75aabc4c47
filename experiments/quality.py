"""Fast paths beside the exact one: do they reach the same quality? `make quality` judges the rows.

    recsys-posttrain run experiments/quality.py [--seeds 3] [--eval-split validation]

A control is exact: float32 throughout, every sum over the whole catalogue. A path changes one thing
of it. Each row is named "what, path"; benchmarks/quality_check.py compares it with "what, exact".
Seeds are of pretraining, reward model and post-training.
"""

from dataclasses import replace

from recsys_posttrain.algorithms import BC, DPO, ExactPPO, OfflinePPO
from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.losses import SampledSoftmax
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.posttrain import POSTTRAINING
from recsys_posttrain.training.pretrain import PRETRAINING
from recsys_posttrain.untrained import Pretrained

SEEDS = (0, 1, 2)
FULL_SEEDS = True
TUNING = "none: settings are those of movielens_main.py"

CONTROL = Setup(pretraining=replace(PRETRAINING, bfloat16=False), name="exact")
EXACT = replace(POSTTRAINING, bfloat16=False)
BASES = {
    "exact": CONTROL,
    "bfloat16": replace(CONTROL, pretraining=PRETRAINING),
    "sampled": replace(CONTROL, pretraining_loss=SampledSoftmax()),
    # As many positions as 32 sequences of ML-100K have in the mean, and steps of equal size.
    "by tokens": replace(CONTROL, pretraining=replace(CONTROL.pretraining, tokens=2_400)),
}
PLANS = {
    "exact": EXACT,
    "bfloat16": POSTTRAINING,
    "sampled": replace(EXACT, exact_items=1, sampled_items=1_024),
}
METHODS: dict[str, Algorithm] = {
    "BC": BC(),
    "DPO": DPO(beta=8.0),
    "OfflinePPO": OfflinePPO(kl_coefficient=1.0),
    "ExactPPO": ExactPPO(kl_coefficient=1.0),
}


def runs_on(dataset: Dataset = CONTROL.dataset) -> list[Run]:
    bases = [
        Run(Pretrained(), replace(setup, dataset=dataset, name=path), f"pretraining, {path}")
        for path, setup in BASES.items()
    ]
    start = replace(CONTROL, dataset=dataset)
    trained = [
        Run(method, start, f"{name}, {path}", plan)
        for name, method in METHODS.items()
        for path, plan in PLANS.items()
    ]
    return [*bases, *trained]


RUNS = runs_on
__all__ = ["FULL_SEEDS", "RUNS", "SEEDS", "TUNING"]
