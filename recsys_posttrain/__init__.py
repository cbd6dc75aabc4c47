"""Post-training for generative recommenders: pretrain, reward, post-train, evaluate, compare.

    import recsys_posttrain as rp

    data = rp.load("ml-100k")
    policy, _ = rp.pretrain(data)
    reward, _ = rp.train_reward(data)
    better, _ = rp.posttrain(policy, data, rp.ASFT(temperature=0.5), reward)
    results = {"Pretrained": rp.evaluate(policy, data), "ASFT": rp.evaluate(better, data)}
    print(rp.compare(results, control="Pretrained").markdown())

Names are imported when they are first used, so that `recsys-posttrain --help` is instant.
"""

import importlib
import os

# As type checkers read it; typing itself is as slow as all else here, and Ctrl-C waits for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# oneDNN keeps what it compiled for each shape of a matrix product, 1,024 of them unless told
# otherwise. Batches differ in length, so nearly every step is a new shape: without a limit memory
# grows for hundreds of steps (benchmarks/NOTES.md). To be set before torch makes the first product.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")

_HOME = {
    "load": "recsys_posttrain.api",
    "compare": "recsys_posttrain.api",
    "off_policy": "recsys_posttrain.api",
    "encode": "recsys_posttrain.data.encode",
    "pretrain": "recsys_posttrain.training.pretrain",
    "posttrain": "recsys_posttrain.training.posttrain",
    "train_reward": "recsys_posttrain.training.reward",
    "evaluate": "recsys_posttrain.evaluation.evaluate",
    "Given": "recsys_posttrain.untrained",
    "true_value": "recsys_posttrain.evaluation.true_value",
    "truth_of": "recsys_posttrain.worlds.base",
    "Jester": "recsys_posttrain.worlds.jester",
    "Run": "recsys_posttrain.studies.run",
    "Setup": "recsys_posttrain.studies.setup",
    "HSTU": "recsys_posttrain.models",
    "SASRec": "recsys_posttrain.models",
    "FullSoftmax": "recsys_posttrain.losses",
    "GBCE": "recsys_posttrain.losses",
    "SampledSoftmax": "recsys_posttrain.losses",
    "Training": "recsys_posttrain.plan",
    "RewardEnsemble": "recsys_posttrain.training.ensemble",
    "RewardFactors": "recsys_posttrain.rewards.factor",
    "Thresholds": "recsys_posttrain.reward_scale",
    "UserError": "recsys_posttrain.errors",
}
_METHODS = ("recsys_posttrain.algorithms", "recsys_posttrain.untrained")


def __getattr__(name: str) -> "Any":
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name[:1].isupper():  # a method: its one import line is in one of these
        for home in _METHODS:
            found = getattr(importlib.import_module(home), name, None)
            if found is not None:
                return found
    raise AttributeError(f"module 'recsys_posttrain' has no attribute {name!r}")
