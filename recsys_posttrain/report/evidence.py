"""What a study of noise says at one quality of the reward model: which methods it cannot tell from
the best, for errors that a policy can follow and for those that it cannot."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import pandas as pd

from recsys_posttrain.report.noise_quality import methods_drawn, noise_kinds, of_kind
from recsys_posttrain.report.study_folder import StudyFolder, by_line, value_columns

Errors = Literal["biased", "independent"]
FOLLOWED = 0.5  # of the error's variance: from there on it counts as a bias
UNTRAINED = ("Pretrained", "BC")  # policies without rewards, which a method must beat


class Condition(NamedTuple):
    """One noise at one level. differences: by method the value minus the control's, with its 95%
    interval (low, high); `best` has those whose interval overlaps that of the largest.

    is_near: whether this kind of noise, at some levels, has the accuracy that was asked for."""

    kind: str
    level: float
    errors: Errors
    accuracy: float
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
    """The achieved pairwise accuracies of the study's reward models."""
    table = _table(study)
    found = table.loc[table["place"] != "log", "pairwise_accuracy"]
    return float(found.min()), float(found.max())


def conditions_at(study: StudyFolder, low: float, accuracy: float, high: float) -> list[Condition]:
    """Of each kind of noise in the reward model the two levels whose achieved accuracies enclose
    `accuracy`, or the nearest one. low, high: the interval around it."""
    return [found for kind in _kinds(study) for found in _around(study, kind, low, accuracy, high)]


def supported(conditions: list[Condition], errors: Errors) -> frozenset[str]:
    """The methods that are among the best under every near condition of these errors."""
    sets = [each.best for each in conditions if each.errors == errors and each.is_near]
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
    study: StudyFolder, kind: str, low: float, accuracy: float, high: float
) -> Iterator[Condition]:
    table = _table(study)
    rows = of_kind(table, "model", kind)
    names = [*methods_drawn(table), "Pretrained"]
    achieved: dict[float, float] = dict(zip(rows["level"], rows["pairwise_accuracy"], strict=True))
    is_near = min(achieved.values()) <= high and low <= max(achieved.values())
    above = [level for level in achieved if achieved[level] >= accuracy]
    below = [level for level in achieved if achieved[level] < accuracy]
    nearest = [min(above, key=lambda at: achieved[at])] if above else []
    nearest += [max(below, key=lambda at: achieved[at])] if below else []
    noisy = rows.loc[rows["level"] > 0, "exploitable_share"].mean()
    for level in nearest:
        at = rows[(rows["level"] == level) & rows["method"].isin(names)]
        bounds = at[["difference", "difference_low", "difference_high"]]
        found = zip(at["method"], bounds.itertuples(index=False, name=None), strict=True)
        yield Condition(
            kind,
            level,
            "biased" if noisy >= FOLLOWED else "independent",
            achieved[level],
            {study.control: (0.0, 0.0, 0.0), **dict(found)},
            is_near,
        )


def _kinds(study: StudyFolder) -> list[str]:
    return [kind for place, kind in noise_kinds(_table(study)) if place == "model"]


def _table(study: StudyFolder) -> pd.DataFrame:
    return by_line(study, value_columns(study)[0])
