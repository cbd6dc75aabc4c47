"""Where the variance of a metric comes from: users, seeds, or the two together.

A value of one user under one seed is mean + user effect + seed effect + rest, with all users under
all seeds. The mean squares of a two-way table without repetition have the expectations
S users + rest, N seeds + rest and rest, which gives the three by the method of moments. A component
below 0 is 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys_posttrain.basic_statistics import Floats
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats.columns import Column
from recsys_posttrain.stats.runs import per_user, runs_of


class Components(NamedTuple):
    """Variances of the effects, and the share of each in the variance of the mean of all."""

    users: float
    seeds: float
    rest: float
    share_users: float
    share_seeds: float
    share_rest: float


def components(values_SN: Floats) -> Components:
    """Of S seeds and N users, each counted alike; users with a NaN are left out. NaN with fewer
    than two of either."""
    values_SN = values_SN[:, ~np.isnan(values_SN).any(0)]
    num_seeds, num_users = values_SN.shape
    if min(num_seeds, num_users) < 2:
        return Components(*[np.nan] * 6)
    user_N, seed_S1 = values_SN.mean(0), values_SN.mean(1, keepdims=True)
    rest_SN = values_SN - user_N - seed_S1 + values_SN.mean()
    rest = float((rest_SN**2).sum() / (num_seeds - 1) / (num_users - 1))
    users = max(0.0, float(user_N.var(ddof=1)) - rest / num_seeds)
    seeds = max(0.0, float(seed_S1.var(ddof=1)) - rest / num_users)
    of_mean = np.array([users / num_users, seeds / num_seeds, rest / num_users / num_seeds])
    total = of_mean.sum()
    shares = of_mean / total if total > 0 else np.full(3, np.nan)
    return Components(users, seeds, rest, *map(float, shares))


def variance_components(
    rows: pd.DataFrame, columns: Sequence[Column], scale: RewardScale
) -> pd.DataFrame:
    """A row per column and method with several seeds: `Components`, number of users and of seeds.
    Of targets a user's mean counts."""
    runs, seeds = runs_of(rows, columns)
    sampled = [column for column in columns if column.of_lists is None]
    if len(seeds) < 2 or not sampled:
        return pd.DataFrame(columns=["column", "method", *Components._fields, "users_N", "seeds_S"])
    values_CMSN, weights_CN = per_user(runs, sampled, scale)
    values_CMSN = np.where(weights_CN[:, None, None] > 0, values_CMSN, np.nan)
    found = [
        {"column": column.name, "method": method}
        | components(values_CMSN[c, m])._asdict()
        | {"users_N": int((weights_CN[c] > 0).sum()), "seeds_S": len(seeds)}
        for c, column in enumerate(sampled)
        for m, (method, frames) in enumerate(runs.items())
        if len({id(frame) for frame in frames}) > 1
    ]
    return pd.DataFrame(found)
