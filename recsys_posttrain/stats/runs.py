"""Saved rows of methods as runs that can be compared: the same targets in the same order."""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_posttrain.errors import UserError
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats.columns import Column
from recsys_posttrain.stats.undefined import undefined_targets

Runs = dict[str, list[pd.DataFrame]]  # method -> one frame per seed, targets in one order

TARGET = ["user_id", "item_id", "reward", "total_reward"]  # equal in all runs


def runs_of(rows: pd.DataFrame, columns: Sequence[Column]) -> tuple[Runs, tuple[int, ...]]:
    """One frame per method and seed, all with the same targets in the same order."""
    missing = [
        name
        for name in ["method", "seed", *TARGET, *(column.source for column in columns)]
        if name not in rows.columns
    ]
    if missing:
        raise UserError(f"the rows lack the column {missing[0]!r}; build them with per_user_frame")
    if rows.empty:
        raise UserError("there are no rows to compare: evaluate at least one method first")
    method_N = rows["method"]
    categorical = isinstance(method_N.dtype, pd.CategoricalDtype)
    order = method_N.cat.categories if categorical else method_N.unique()
    by_seed: dict[str, dict[int, pd.DataFrame]] = {str(method): {} for method in order}
    for (method, seed), frame in rows.groupby(["method", "seed"], observed=True, sort=True):
        ordered = frame.sort_values(["user_id", "item_id"], kind="stable", ignore_index=True)
        by_seed[str(method)][int(str(seed))] = ordered
    by_seed = {method: frames for method, frames in by_seed.items() if frames}
    seeds = max((tuple(frames) for frames in by_seed.values()), key=len)
    first_method, first = next(iter(by_seed.items()))
    reference = first[min(first)][TARGET]
    runs: Runs = {}
    for method, frames in by_seed.items():
        if len(frames) > 1 and tuple(frames) != seeds:
            raise UserError(
                f"{method!r} has seeds {_listed(frames)} but others have {_listed(seeds)}: run "
                "the missing ones, or give every method the same seeds (or just one)"
            )
        for seed, frame in frames.items():
            if not frame[TARGET].equals(reference):
                raise UserError(
                    f"{method!r} with seed {seed} was evaluated on other targets than "
                    f"{first_method!r}: evaluate both on the same split"
                )
        runs[method] = list(frames.values()) * (len(seeds) if len(frames) == 1 else 1)
    return runs, seeds


def per_user(
    runs: Runs, columns: Sequence[Column], scale: RewardScale
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """values_CMSN and weights_CN: each user's targets collapsed into a weighted mean."""
    targets = next(iter(runs.values()))[0]
    user_T, users = pd.factorize(targets["user_id"])
    num_seeds = len(next(iter(runs.values())))
    values_CMSN = np.full((len(columns), len(runs), num_seeds, len(users)), np.nan)
    weights_CN = np.empty((len(columns), len(users)))
    for c, column in enumerate(columns):
        # Left out of all methods alike, so that they stay paired on the same targets.
        weight_T = np.where(undefined_anywhere(runs, column), 0.0, column.weights(targets, scale))
        weights_CN[c] = np.bincount(user_T, weight_T, len(users))
        used_N = weights_CN[c] > 0
        for m, frames in enumerate(runs.values()):
            for s, frame in enumerate(frames):
                value_T = frame[column.source].to_numpy(dtype=np.float64)
                weighted_T = np.where(weight_T > 0, weight_T * value_T, 0.0)
                total_N = np.bincount(user_T, weighted_T, len(users))
                values_CMSN[c, m, s, used_N] = total_N[used_N] / weights_CN[c, used_N]
    return values_CMSN, weights_CN


def undefined_anywhere(runs: Runs, column: Column) -> NDArray[np.bool_]:
    """At which targets a run of any method has no value in this column, [N]."""
    return undefined_targets(chain.from_iterable(runs.values()), column.source)


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))
