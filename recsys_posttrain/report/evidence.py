"""What a study of noise says at one quality of the reward model: which methods it cannot tell from
the best. Quality is the study's axis (report/noise_quality.py)."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from recsys_posttrain.report.noise_quality import axis_of, methods_drawn, noise_kinds, of_kind
from recsys_posttrain.report.study_folder import StudyFolder, by_line, value_columns

UNTRAINED = ("Pretrained", "BC")  # policies without rewards, which a method must beat


class Condition(NamedTuple):
    """One noise at one level. differences: by method the value minus the control's, with its 95%
    interval (low, high); `best` has those whose interval overlaps that of the largest.

    is_near: whether this kind of noise, at some levels, has the quality that was asked for."""

    kind: str
    level: float
    quality: float
    differences: dict[str, tuple[float, float, float]]
    is_near: bool

    @property
    def ordered(self) -> list[str]:
        return sorted(self.differences, key=lambda name: -self.differences[name][0])

    @property
    def best(self) -> frozenset[str]:
        """Overlap does not prove that methods are equal; it says that this study cannot tell."""
        _, lowest, _ = self.differences[self.ordered[0]]
        return frozenset(name for name, (_, _, high) in self.differences.items() if high >= lowest)


def has_noisy_models(study: StudyFolder) -> bool:
    """Whether it compares methods under errors of the reward model, each at several strengths."""
    return study.is_grid and bool((study.cells["place"] == "model").any())


def studied_range(study: StudyFolder) -> tuple[float, float]:
    """The lowest and highest quality of the study's reward models."""
    table = _models(study)
    found = table[axis_of(table)]
    return float(found.min()), float(found.max())


def axis_of_models(study: StudyFolder) -> str:
    return axis_of(_models(study))


def conditions_at(study: StudyFolder, low: float, quality: float, high: float) -> list[Condition]:
    """Of each kind of noise in the reward model the two levels whose qualities enclose `quality`,
    or the nearest one. low, high: the interval around it."""
    return [found for kind in _kinds(study) for found in _around(study, kind, low, quality, high)]


def supported(conditions: list[Condition]) -> frozenset[str]:
    """The methods that are among the best under every near condition."""
    sets = [each.best for each in conditions if each.is_near]
    return frozenset.intersection(*sets) if sets else frozenset()


def paying(conditions: list[Condition], methods: frozenset[str]) -> frozenset[str]:
    """Those of `methods` whose interval is above those of the untrained policies, in every near
    condition."""

    def pays(name: str, found: Condition) -> bool:
        untrained = [found.differences[each][2] for each in UNTRAINED if each in found.differences]
        return found.differences[name][1] > max(untrained)

    near = [each for each in conditions if each.is_near]
    return frozenset(name for name in methods if all(pays(name, each) for each in near))


def safest(conditions: list[Condition]) -> tuple[str, float]:
    """The method with the largest lower bound in its worst condition, and that bound."""
    names = set.intersection(*(set(each.differences) for each in conditions)) - {*UNTRAINED}
    worst = {name: min(each.differences[name][1] for each in conditions) for name in sorted(names)}
    name = max(worst, key=lambda each: worst[each])
    return name, worst[name]


def _around(
    study: StudyFolder, kind: str, low: float, quality: float, high: float
) -> Iterator[Condition]:
    table = _table(study)
    rows = of_kind(table, "model", kind)
    names = [*methods_drawn(table), "Pretrained"]
    qualities = rows[axis_of_models(study)]
    achieved: dict[float, float] = dict(zip(rows["level"], qualities, strict=True))
    is_near = min(achieved.values()) <= high and low <= max(achieved.values())
    above = [level for level in achieved if achieved[level] >= quality]
    below = [level for level in achieved if achieved[level] < quality]
    nearest = [min(above, key=lambda at: achieved[at])] if above else []
    nearest += [max(below, key=lambda at: achieved[at])] if below else []
    for level in nearest:
        at = rows[(rows["level"] == level) & rows["method"].isin(names)]
        bounds = at[["difference", "difference_low", "difference_high"]]
        found = zip(at["method"], bounds.itertuples(index=False, name=None), strict=True)
        yield Condition(
            kind,
            level,
            achieved[level],
            {study.control: (0.0, 0.0, 0.0), **dict(found)},
            is_near,
        )


def _kinds(study: StudyFolder) -> list[str]:
    return [kind for place, kind in noise_kinds(_table(study)) if place == "model"]


def _models(study: StudyFolder) -> pd.DataFrame:
    """Without the conditions in which only the log is noisy."""
    table = _table(study)
    return table[table["place"] != "log"]


def _table(study: StudyFolder) -> pd.DataFrame:
    return by_line(study, value_columns(study)[0])
