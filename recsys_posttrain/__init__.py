"""Post-training for generative recommenders: pretrain, reward, post-train, evaluate, compare.

    import pandas as pd
    import recsys_posttrain as rp

    frame = pd.read_csv("my_log.csv")  # user_id, item_id, rating, timestamp
    data = rp.load(frame)
    policy, _ = rp.pretrain(data)
    reward, _ = rp.train_reward(data)
    better, _ = rp.posttrain(policy, data, rp.ASFT(), reward)
    results = {"Pretrained": rp.evaluate(policy, data), "ASFT": rp.evaluate(better, data)}
    print(rp.compare(results, control="Pretrained").markdown())
    print(rp.recommend(better, frame, k=10))
    rp.save_policy(better, "my_policy", data)

Names are imported when they are first used, so that `recsys-posttrain --help` is instant.
"""

import importlib
import os

# oneDNN keeps what it compiled for each shape of a matrix product, 1,024 of them unless told
# otherwise. Batches differ in length, so nearly every step is a new shape: without a limit memory
# grows for hundreds of steps (benchmarks/NOTES.md). To be set before torch makes the first product.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")

_HOME = {
    "GBCE": "losses",
    "FullSoftmax": "losses",
    "GlobalTime": "data",
    "Guard": "guard",
    "HSTU": "models",
    "HoldOut": "data",
    "ItemFeatures": "models",
    "Jester": "worlds.jester",
    "LeaveOneOut": "data",
    "RewardEnsemble": "training.ensemble",
    "RewardFactors": "rewards.factor",
    "RewardFunction": "rewards.own",
    "RewardPredictions": "rewards.own_predictions",
    "RewardRegressor": "rewards.own",
    "Run": "studies.run",
    "SASRec": "models",
    "SampledSoftmax": "losses",
    "Setup": "studies.setup",
    "Thresholds": "reward_scale",
    "Training": "plan",
    "UserError": "errors",
    "UserHoldout": "data",
    "add_items": "models.new_items",
    "compare": "api",
    "encode": "data.encode",
    "evaluate": "evaluation.evaluate",
    "export_onnx": "export",
    "load": "api",
    "load_policy": "serve",
    "off_policy": "api",
    "policy_of": "models.own",
    "posttrain": "training.posttrain",
    "posttrain_from": "tomorrow.go_on",
    "pretrain": "training.pretrain",
    "recommend": "serve",
    "save_policy": "serve",
    "train_reward": "training.reward",
    "true_value": "evaluation.true_value",
    "truth_of": "worlds.base",
}
_METHODS = ("algorithms", "untrained")  # each of these has one import line for a method


def _public() -> dict[str, str]:
    """Of each public name the module that it comes from."""
    names = dict(_HOME)
    for home in _METHODS:
        module = importlib.import_module(f"{__name__}.{home}")
        names |= {name: home for name in vars(module) if name[:1].isupper()}
    return names


def __dir__() -> list[str]:
    return sorted([*_public(), "__version__"])


def __getattr__(name: str) -> object:
    if name == "__all__":
        return sorted(_public())
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__.replace("_", "-"))
    home = _HOME.get(name)
    if home is None and name[:1].isupper():
        home = _public().get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{_hint(name)}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def _hint(name: str) -> str:
    """Nothing for what Python and its tools ask of any module."""
    if name.startswith("_"):
        return ""
    from recsys_posttrain.errors import did_you_mean, nearest

    return did_you_mean(nearest(name, _HOME))
