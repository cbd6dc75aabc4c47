"""The tables of a study whose methods have several strengths: each at the one that was chosen."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recsys_posttrain.report.grid import RESAMPLES, Grid, about, achieved, caption
from recsys_posttrain.report.noise_quality import CONDITION
from recsys_posttrain.report.study_folder import label_of
from recsys_posttrain.reward_scale import RewardScale, scale_in
from recsys_posttrain.stats.columns import Column, value_columns
from recsys_posttrain.stats.comparison import Comparison, compare
from recsys_posttrain.stats.equal_kl import equal_kl
from recsys_posttrain.studies.choose import METHOD, TRIAL, chosen, selections, with_nothing
from recsys_posttrain.studies.rules import OWN, WORDS


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
    kept = rows.merge(selected[TRIAL], on=TRIAL)
    clean = kept[kept["place"] == ""]
    repeated = clean[~clean["method"].isin(methods.controlled)]
    for (place, kind, level), noisy in kept.groupby(CONDITION, sort=False):
        changed = (rows[CONDITION] == [place, kind, level]).all(axis=1)
        unchanged = repeated[~repeated["method"].isin(set(rows.loc[changed, "method"]))]
        parts = [untrained, unchanged, noisy] if place else [untrained, clean]
        together: pd.DataFrame = pd.concat(parts)
        for control, part in together.groupby(together["method"].map(own), sort=False):
            noise = NoiseLevel(str(place), str(kind), float(str(level)))
            yield noise, _compared(str(control), part, columns, num_items, scale)


def with_unjudged(selected: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The chosen strengths, and those of methods that ran under a noise without being validated
    there: validation never asks for the truth, which `TruthShare` mixes into the model by which the
    tilt ranks. They have the strength chosen without noise, or their only one."""
    clean = selected[selected["place"] == ""].set_index("method")["strength"]
    ran = rows.loc[rows["method"].isin(clean.index), TRIAL].drop_duplicates()
    judged = {tuple(key) for key in selected[METHOD].itertuples(index=False)}
    found = [
        (*key, strength)
        for key, of_method in ran.groupby(METHOD, sort=False)["strength"]
        if key not in judged
        for strength in of_method
        if strength == clean[str(key[-1])] or len(of_method) == 1
    ]
    more = pd.DataFrame(found, columns=TRIAL).assign(at_edge=False)
    return pd.concat([selected, more], ignore_index=True) if found else selected


def grid_of(
    rows: pd.DataFrame,
    validation: pd.DataFrame,
    targets: pd.DataFrame,
    record: dict[str, Any],
    control: str,
) -> Grid:
    """All numbers of a study's report. rows, validation, targets: as in `Results`. record:
    run.json."""
    methods, given = Methods.of(record, control), (record["num_items"], scale_in(record))
    rule = record.get("chosen_by", OWN)  # of an older record
    selected = with_unjudged(chosen(validation, rule), rows)
    candidates = with_nothing(rows, validation)
    compared = list(comparisons(candidates, selected, methods, *given))
    table, pairs = (
        pd.concat([getattr(found, name).assign(**noise._asdict()) for noise, found in compared])
        for name in ("cells", "pairs")
    )
    table = table.merge(selected, how="left", on=METHOD)
    return Grid(
        table.merge(achieved(record), how="left", on=CONDITION),
        equal_kl(rows, scale_in(record), resamples=RESAMPLES),
        pairs,
        frontier(rows[rows["method"].isin(selected["method"])]),
        selections(candidates, targets, scale_in(record), RESAMPLES, own=rule),
        WORDS[rule],
        about(record, compared[0][1].num_users),
        caption(record, compared[0][1].num_users, methods.control, WORDS[rule]),
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
