"""What any policy can reach in a world, before a history rules anything out."""

import torch

from recsys_posttrain.types import Corpus
from recsys_posttrain.worlds.base import Truth

SLATES = (1, 5, 10)
USERS_PER_CHUNK = 512


def bounds(truth: Truth, corpus: Corpus) -> dict[str, float]:
    """Mean true rewards over users, every item allowed: of all items, of each user's best k, and
    of the log. truth: aligned to the corpus, which has at least 10 items."""
    users = len(truth.user_ids)
    total = dict.fromkeys(("uniform", *(f"oracle@{k}" for k in SLATES)), 0.0)
    for users_n in torch.split(torch.arange(users), USERS_PER_CHUNK):
        reward_nV = truth.rewards(users_n).double()
        total["uniform"] += float(reward_nV.mean(dim=1).sum())
        for k in SLATES:
            total[f"oracle@{k}"] += float(reward_nV.topk(k, dim=1).values.mean(dim=1).sum())
    values = {name: value / users for name, value in total.items()}
    return values | {"logging policy": float(corpus.sequences.rewards_E.double().mean())}
