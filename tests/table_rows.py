"""Rows of evaluations, of which tables are made: four users by hand, and many drawn ones."""

import numpy as np
import pandas as pd

from recsys_posttrain.evaluation.metrics import per_user_frame


def run(method, ranks, seed=0, items=((1, 2), (1, 3), (2, 1), (1, 2)), **changes):
    given = {
        "user_id": np.arange(4),
        "item_id": [4, 3, 2, 1],
        "reward_N": [5, 4, 1, 2],
        "total_reward_N": [9, 8, 7, 6],
        "proxy_reward_N": [3.0, 3.0, 4.0, 4.0],
    }
    return per_user_frame(ranks, items, **(given | changes)).assign(method=method, seed=seed)


def equal_ranks():
    """Everybody has the same value, so each interval has no width and can be written by hand."""
    better = run("A_1 & B", [1.0] * 4, items=((1, 2), (3, 4), (1, 2), (1, 2)))
    return pd.concat([run("BC", [2.0] * 4), better])


def noisy(num_users=200, seeds=3):
    rng = np.random.default_rng(0)
    users = {
        "user_id": np.arange(num_users),
        "item_id": np.arange(num_users),
        "reward_N": rng.integers(1, 6, num_users),
        "total_reward_N": rng.random(num_users),
    }
    parts = []
    base = rng.integers(1, 30, num_users)
    for m, method in enumerate(["Popularity", "BC", "OfflinePPO"]):
        for seed in range(1 if m == 0 else seeds):
            lists = rng.integers(1, 50, (num_users, 10))
            ranks = (base + rng.integers(-3, 3, num_users) - 3 * m).clip(1)
            proxy = rng.normal(3.5, 0.1, num_users)
            rows = per_user_frame(ranks, lists, proxy_reward_N=proxy, **users)
            parts.append(rows.assign(method=method, seed=seed))
    return pd.concat(parts)
