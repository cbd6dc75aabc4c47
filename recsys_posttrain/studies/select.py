"""A study whose methods have several strengths: which strength is chosen, and what it is worth.

Every rule reads validation targets alone. The study's own is NDCG@10 of liked targets; the others
are what the method's own reward model says of the lists (reward/proxy@10), with its errors, and
what a judge says that was trained on other users (reward/judge@10), which is no rule where the
same judge decides what a policy is worth. Beside them the best strength in hindsight, which no
rule can beat and nobody can know.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recsys_posttrain.evaluation.subsets import liked
from recsys_posttrain.report.grid import RESAMPLES, Grid, about, achieved, caption
from recsys_posttrain.report.noise_quality import CONDITION
from recsys_posttrain.report.study_folder import label_of
from recsys_posttrain.reward_scale import RewardScale, scale_in
from recsys_posttrain.stats.columns import Column, value_columns
from recsys_posttrain.stats.comparison import Comparison, compare
from recsys_posttrain.stats.equal_kl import equal_kl

OWN, HINDSIGHT = "NDCG@10 liked", "hindsight"
RULES = {OWN: "liked_ndcg@10", "proxy": "reward/proxy@10", "judge": "reward/judge@10"}
TRIAL = [*CONDITION, "method", "strength"]


class NoiseLevel(NamedTuple):
    """A noise, without the seed that drew it; all empty without noise."""

    place: str
    kind: str
    level: float


class Methods(NamedTuple):
    """control: what differences are to. controlled: methods that are given something in place of
    the rewards. against: of each of them the control's algorithm given the same, where the study
    has that."""

    control: str
    controlled: frozenset[str] = frozenset()
    against: Mapping[str, str] = {}

    @classmethod
    def of(cls, record: Mapping[str, Any], control: str) -> "Methods":
        """From run.json."""
        runs = {label_of(run): run for run in record["runs"]}
        given = {name: run["control"]["class"] for name, run in runs.items() if run.get("control")}
        imitation = runs.get(control, {}).get("algorithm")
        same = {given[name]: name for name in given if runs[name]["algorithm"] == imitation}
        against = {name: same[kind] for name, kind in given.items() if kind in same}
        return cls(control, frozenset(given), against)


def validation_means(rows: pd.DataFrame, scale: RewardScale) -> dict[str, float]:
    """What the rules read of the validation rows of one policy."""
    liked_ndcg = float(rows.loc[liked(rows, scale) > 0, "ndcg@10"].mean())
    others = {name: float(rows[name].mean()) for name in RULES.values() if name in rows}
    return {RULES[OWN]: liked_ndcg, **others}


def chosen(validation: pd.DataFrame) -> pd.DataFrame:
    """For each noise and method the strength with the best mean over seeds, by the own rule.

    validation: one row per run and seed, with `validation_means`."""
    means = validation.groupby(TRIAL, sort=False)[RULES[OWN]].mean()
    best = means.groupby([*CONDITION, "method"], sort=False).idxmax()
    return pd.DataFrame(list(best), columns=TRIAL)


def comparisons(
    rows: pd.DataFrame,
    selected: pd.DataFrame,
    methods: Methods,
    num_items: int,
    scale: RewardScale,
) -> Iterator[tuple[NoiseLevel, Comparison]]:
    """Of each noise: all methods at their chosen strength against the control, on the same users
    and seeds.

    A method that the noise cannot change keeps the value that it has without noise. Methods given
    something in place of the rewards are compared without noise alone, each with the control's
    algorithm given the same. rows: of all runs, and of what is not post-trained, which is in every
    comparison.
    """
    columns = value_columns(rows.columns)
    own = dict.fromkeys(rows["method"].unique(), methods.control) | dict(methods.against)
    untrained = rows[~rows["method"].isin(selected["method"])]
    kept = rows.merge(selected, on=TRIAL)
    clean = kept[kept["place"] == ""]
    repeated = clean[~clean["method"].isin(methods.controlled)]
    for (place, kind, level), noisy in kept.groupby(CONDITION, sort=False):
        unchanged = repeated[~repeated["method"].isin(set(noisy["method"]))]
        parts = [untrained, unchanged, noisy] if place else [untrained, clean]
        together: pd.DataFrame = pd.concat(parts)
        for control, part in together.groupby(together["method"].map(own), sort=False):
            noise = NoiseLevel(str(place), str(kind), float(str(level)))
            yield noise, _compared(str(control), part, columns, num_items, scale)


def grid_of(
    rows: pd.DataFrame, validation: pd.DataFrame, record: dict[str, Any], control: str
) -> Grid:
    """All numbers of a study's report. rows, validation: as in `Results`. record: run.json."""
    methods, given = Methods.of(record, control), (record["num_items"], scale_in(record))
    selected = chosen(validation)
    compared = list(comparisons(rows, selected, methods, *given))
    table, pairs = (
        pd.concat([getattr(found, name).assign(**noise._asdict()) for noise, found in compared])
        for name in ("cells", "pairs")
    )
    table = table.merge(selected, how="left", on=[*CONDITION, "method"])
    return Grid(
        table.merge(achieved(record), how="left", on=CONDITION),
        equal_kl(rows, scale_in(record), resamples=RESAMPLES),
        pairs,
        frontier(rows[rows["method"].isin(selected["method"])]),
        selections(rows, validation, *given),
        OWN,
        about(record, compared[0][1].num_users),
        caption(record, compared[0][1].num_users, methods.control),
    )


def _compared(
    control: str,
    rows: pd.DataFrame,
    columns: Sequence[Column],
    num_items: int,
    scale: RewardScale,
) -> Comparison:
    return compare(
        rows,
        columns,
        num_items=num_items,
        control=control,
        relative=False,
        scale=scale,
        resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )


def frontier(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean kl and value of each noise, method and strength."""
    source = value_columns(rows.columns)[0].source
    means = rows.groupby(TRIAL, sort=False)[[source, "kl"]].mean()
    return means.rename(columns={source: "value"}).reset_index()


def selections(
    rows: pd.DataFrame, validation: pd.DataFrame, num_items: int, scale: RewardScale
) -> pd.DataFrame:
    """One row per noise, method and rule, where a method has several strengths: the strength that
    the rule chose, its mean value with interval, and its paired difference to the own rule."""
    of_method = rows.groupby([*CONDITION, "method"], sort=False)
    frames = [
        _of_method(of_method.get_group(key), trials, num_items, scale)
        for key, trials in validation.groupby([*CONDITION, "method"], sort=False)
        if trials["strength"].nunique() > 1
    ]
    if not frames:
        return pd.DataFrame(columns=_SELECTION)
    return pd.concat(frames, ignore_index=True)


_CELL = ["mean", "low", "high", "difference", "difference_low", "difference_high"]
_SELECTION = [*CONDITION, "method", "rule", "strength", *_CELL]


def _of_method(
    rows: pd.DataFrame, trials: pd.DataFrame, num_items: int, scale: RewardScale
) -> pd.DataFrame:
    """Of one method under one noise."""
    column = value_columns(rows.columns)[0]
    by_rule = {
        name: str(trials.groupby("strength", sort=False)[source].mean().idxmax())
        for name, source in RULES.items()
        if source in trials and not (name == "judge" and "judge" in column.source)
    }
    by_rule[HINDSIGHT] = str(rows.groupby("strength", sort=False)[column.source].mean().idxmax())
    named = [rows[rows["strength"] == at].assign(method=rule) for rule, at in by_rule.items()]
    cells = _compared(OWN, pd.concat(named), [column], num_items, scale).cells
    found = cells.rename(columns={"method": "rule"}).assign(
        strength=cells["method"].map(by_rule),
        **{name: rows[name].iloc[0] for name in [*CONDITION, "method"]},
    )
    return found[_SELECTION]
