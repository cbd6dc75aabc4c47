"""What post-training logs of the validation targets."""

import numpy as np
import pandas as pd

from recsys_posttrain.evaluation.subsets import liked
from recsys_posttrain.reward_scale import RewardScale

VALIDATED = ("ndcg@10", "reward/proxy@10", "kl", "entropy")
LIKED_NDCG = "ndcg@10 liked"  # where there are such targets; settings are chosen by it


def validation_means(rows: pd.DataFrame, scale: RewardScale) -> dict[str, float]:
    """rows: of `evaluate`, one per target."""
    means = {name: float(rows[name].mean()) for name in VALIDATED}
    if not scale.missing and (weight_N := liked(rows, scale)).any():
        means[LIKED_NDCG] = float(np.average(rows["ndcg@10"], weights=weight_N))
    return {f"validation/{name}": mean for name, mean in means.items()}
