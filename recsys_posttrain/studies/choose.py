"""Which strength of a method is chosen on validation targets, and what that choice is worth.

Every rule (rules.py) reads validation targets alone. Beside them stands the best strength in
hindsight, which no rule can beat and nobody can know.

Doing nothing, the pretrained policy, is one of the strengths of every method that has several.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_posttrain.basic_statistics import Floats
from recsys_posttrain.config import require
from recsys_posttrain.evaluation.subsets import Subset
from recsys_posttrain.report.noise_quality import CONDITION
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats.bootstrap import RESAMPLES, bootstrap, interval
from recsys_posttrain.stats.columns import Column, value_columns
from recsys_posttrain.stats.runs import per_user, runs_of
from recsys_posttrain.studies.rules import JUDGE, OWN, RULES, validation_means
from recsys_posttrain.studies.run import Run
from recsys_posttrain.types import Split

HINDSIGHT = "hindsight"
PRETRAINED, NOTHING = "Pretrained", "do nothing"
METHOD = [*CONDITION, "method"]
TRIAL = [*METHOD, "strength"]


class Trial(NamedTuple):
    """What a strength can be chosen by. names: method, noise, strength and seed. targets: the
    validation rows."""

    title: str
    names: dict[str, Any]
    targets: pd.DataFrame


def validation_frames(
    trials: Sequence[Trial], scale: RewardScale
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means, one row each, and rows per target. Doing nothing is there once, and the first of a
    method's strengths."""
    unique: dict[tuple[object, ...], Trial] = {}
    for trial in trials:
        names = trial.names
        unique.setdefault((*(names[name] for name in TRIAL), names["seed"]), trial)
    kept = sorted(unique.values(), key=lambda each: each.names["strength"] != NOTHING)
    if not kept:
        return pd.DataFrame(), pd.DataFrame()
    return (
        pd.DataFrame([each.names | validation_means(each.targets, scale) for each in kept]),
        pd.concat([each.targets.assign(**each.names) for each in kept], ignore_index=True),
    )


def few_targets(data: Split, over: Subset, candidates: int) -> str:
    """A warning where fewer validation targets choose than there are candidates; else empty.

    Raises: UserError where there is none.
    """
    scale, name = data.corpus.reward_scale, over.__name__.replace("_targets", "")
    rewards_N = scale.from_stars(data.validation.rewards_N.double().numpy())
    count = int((over(pd.DataFrame({"reward": rewards_N}), scale) > 0).sum())
    require(
        count > 0,
        f"none of the {len(rewards_N):,} validation targets of {data.corpus.name} is {name}, so "
        "nothing can be chosen on them; give other thresholds such as --liked 50%, or a larger "
        "validation part.",
    )
    return (
        f"{count} {name} validation targets choose among {candidates} candidates: expect another "
        "choice from other users; give a larger validation part or more validation_positions"
        if count < candidates
        else ""
    )


def chosen(validation: pd.DataFrame, rule: str = OWN) -> pd.DataFrame:
    """For each noise and method the strength with the best mean over seeds, by the rule, and
    whether it is the first or the last of those that were trained.

    validation: one row per run and seed, with `validation_means`, each method's weakest first."""
    means = validation.groupby(TRIAL, sort=False)[rule].mean()
    best = means.groupby(METHOD, sort=False).idxmax()
    found = pd.DataFrame(list(best), columns=TRIAL)
    trained = validation[validation["strength"] != NOTHING].groupby(METHOD, sort=False)["strength"]
    ends = {key: (each.iloc[0], each.iloc[-1]) for key, each in trained if each.nunique() > 1}
    at_edge = [strength in ends.get(tuple(key), ()) for *key, strength in found.to_numpy().tolist()]
    return found.assign(at_edge=at_edge)


def extended(
    runs: Sequence[Run],
    tried: Sequence[Run],
    validation: pd.DataFrame,
    is_first: Callable[[Run], bool],
    rule: str = OWN,
) -> list[Run]:
    """The runs to build next, so that each method's best strength becomes none at an edge.

    runs: all there could be, under each noise the strengths of a method from weakest to strongest.
    tried: those of them that were. At first those of `is_first`; later, where the best strength is
    the last one tried on its side, the next one there. Doing nothing is no edge.
    """
    titles = {run.title for run in tried}
    best = _best(validation, rule)
    ladders: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        ladders.setdefault(_method_of(run), []).append(run)
    found = []
    for key, ladder in ladders.items():
        places = [place for place, run in enumerate(ladder) if run.title in titles]
        if not places:
            found += [run for run in ladder if is_first(run)]
            continue
        low, high = places[0], places[-1]
        if low and best.get(key) == ladder[low].strength:
            found.append(ladder[low - 1])
        if high + 1 < len(ladder) and best.get(key) == ladder[high].strength:
            found.append(ladder[high + 1])
    return found


def _method_of(run: Run) -> tuple[Any, ...]:
    return tuple(run.row[name] for name in METHOD)


def _best(validation: pd.DataFrame, rule: str) -> dict[tuple[Any, ...], str]:
    if validation.empty:
        return {}
    rows = chosen(validation, rule)[TRIAL].itertuples(index=False, name=None)
    return {tuple(key): strength for *key, strength in rows}


def with_nothing(rows: pd.DataFrame, validation: pd.DataFrame) -> pd.DataFrame:
    """The rows, and for each method that may do nothing those of the pretrained policy as its own.

    Methods keep their order."""
    nothing = validation[validation["strength"] == NOTHING].drop_duplicates([*TRIAL, "setup"])
    is_pretrained = rows["method"].str.startswith(PRETRAINED)
    parts = [rows]
    for _, names in nothing[[*TRIAL, "setup"]].iterrows():
        reference = rows[is_pretrained & (rows["setup"] == names["setup"])]
        parts.append(reference.assign(**names))
    order = {method: place for place, method in enumerate(rows["method"].unique())}
    return pd.concat(parts).sort_values(
        "method", key=lambda method: method.map(order), kind="stable", ignore_index=True
    )


SELECTION = [
    *(*METHOD, "rule", "strength", "chosen_share", "mean", "low", "high"),
    *("difference", "difference_low", "difference_high"),
]


def selections(
    rows: pd.DataFrame,
    validation: pd.DataFrame,
    scale: RewardScale,
    resamples: int = RESAMPLES,
    value: Column | None = None,
    own: str = OWN,
) -> pd.DataFrame:
    """One row per noise, method and rule, where a method has several strengths: the strength that
    the rule chose, how often it does so in the bootstrap, the strength's mean value, and its paired
    difference to that of the study's own rule.

    In each draw of users and seeds the rule chooses anew, and its value is that of the strength it
    chose there; so the intervals are those of the rule, and not of the strength.

    validation: one row per target, run and seed. value: of a policy, by its rows; None: the first
    of `value_columns`."""
    value = value or value_columns(rows.columns)[0]
    of_method = rows.groupby(METHOD, sort=False)
    frames = [
        _of_method(of_method.get_group(key), trials, scale, resamples, value, own).assign(
            **dict[str, Any](zip(METHOD, key, strict=True))
        )
        for key, trials in validation.groupby(METHOD, sort=False)
        if trials["strength"].nunique() > 1
    ]
    if not frames:
        return pd.DataFrame(columns=SELECTION)
    return pd.concat(frames, ignore_index=True)[SELECTION]


def _of_method(
    rows: pd.DataFrame,
    validation: pd.DataFrame,
    scale: RewardScale,
    resamples: int,
    value: Column,
    own: str,
) -> pd.DataFrame:
    """Of one method under one noise."""
    rules = {
        name: rule
        for name, rule in ({own: RULES[own]} | RULES).items()
        if validation.get(rule.source, pd.Series()).notna().any()
        and not (name == JUDGE and JUDGE in value.source)
    }
    strengths = list(validation["strength"].unique())
    parts = [
        _per_user(validation, list(rules.values()), strengths, scale),
        _per_user(rows, [value], strengths, scale),
    ]
    mean_CM, draws_RCM = bootstrapped(parts, resamples)
    draws_RCM = draws_RCM[~np.isnan(draws_RCM).any(axis=(1, 2))]  # those with users in each part
    value_M, value_RM = mean_CM[-1], draws_RCM[:, -1]
    at_C, at_RC = mean_CM.argmax(axis=1), draws_RCM.argmax(axis=2)
    got_RC = np.take_along_axis(value_RM, at_RC, axis=1)
    found = []
    for c, name in enumerate([*rules, HINDSIGHT]):
        mean = interval(value_M[at_C[c]], got_RC[:, c])
        difference = interval(value_M[at_C[c]] - value_M[at_C[0]], got_RC[:, c] - got_RC[:, 0])
        to_own = (np.nan,) * 3 if c == 0 else (difference.value, difference.low, difference.high)
        share = float((at_RC[:, c] == at_C[c]).mean()) if len(at_RC) else np.nan
        found.append([name, strengths[at_C[c]], share, mean.value, mean.low, mean.high, *to_own])
    return pd.DataFrame(found, columns=SELECTION[len(METHOD) :])


Part = tuple[Floats, Floats, NDArray[Any]]


def _per_user(
    rows: pd.DataFrame, columns: Sequence[Column], strengths: Sequence[str], scale: RewardScale
) -> Part:
    """values_CMSN, weights_CN and the users."""
    runs, _ = runs_of(rows.assign(method=rows["strength"]), columns)
    values_CMSN, weights_CN = per_user({name: runs[name] for name in strengths}, columns, scale)
    return values_CMSN, weights_CN, runs[strengths[0]][0]["user_id"].unique()


def bootstrapped(parts: Sequence[Part], resamples: int) -> tuple[Floats, Floats]:
    """Means [C, M] of all columns of all parts, and their draws [R, C, M]. A user who is in several
    parts is drawn in all of them together; so is a seed."""
    users = pd.Index(np.concatenate([users_N for _, _, users_N in parts])).unique()
    values, weights = [], []
    for values_CMSN, weights_CN, users_N in parts:
        place_N = users.get_indexer(users_N)
        all_values = np.full((*values_CMSN.shape[:-1], len(users)), np.nan)
        all_weights = np.zeros((len(weights_CN), len(users)))
        all_values[..., place_N], all_weights[:, place_N] = values_CMSN, weights_CN
        values.append(all_values)
        weights.append(all_weights)
    values_CMSN, weights_CN = np.concatenate(values), np.concatenate(weights)
    shape = values_CMSN.shape
    mean_K, draws_RK = bootstrap(
        values_CMSN.reshape(-1, *shape[2:]),
        weights_KN=np.repeat(weights_CN, shape[1], axis=0),
        resamples=resamples,
        few_users=0,  # a choice is drawn with the very users that it is judged by
        rng=np.random.default_rng(0),
    ).mean_and_draws
    return mean_K.reshape(shape[:2]), draws_RK.reshape(-1, *shape[:2])
