"""What a study says of methods without noise: which gain over the policy that all start from, and
which of those no other is better than. By the paired differences of its `pairs.csv`, and, against
the tilt, by its `equal_kl.csv`."""

from typing import NamedTuple

import pandas as pd

from recsys_posttrain.report.noise_quality import BOUNDS
from recsys_posttrain.report.study_folder import StudyFolder, label_of, runs_of, value_columns
from recsys_posttrain.stats.equal_kl import REFERENCE, TILT

Bounds = tuple[float, float, float]  # a difference, and its 95% interval
# The item mean and the argmax of the model, which is the tilt's limit, serve to compare.
NO_METHOD = (*BOUNDS, REFERENCE, "Popularity", "ItemMean", "RewardArgmax")


class Rivals(NamedTuple):
    """gains: over the reference, by method. best: those that gain and that none is better than, by
    the lower end of the gain, the tilt first. minus_tilt: of the others, where the tilt is there.
    """

    column: str
    gains: dict[str, Bounds]
    best: tuple[str, ...]
    minus_tilt: dict[str, Bounds]
    strengths: dict[str, str]


def rivals(study: StudyFolder) -> Rivals | None:
    """None where the study compares nothing with the reference in pairs."""
    frame, column = study.frame("pairs.csv"), value_columns(study)[0]
    if frame is None:
        return None
    frame = frame[frame["column"] == column]
    if "place" in frame:
        frame = frame[frame["place"].fillna("") == ""]
    between = _differences(frame)
    methods = [name for name in _methods(study) if (name, REFERENCE) in between]
    if not methods:
        return None
    gains = {name: between[name, REFERENCE] for name in methods}
    behind = _behind_the_tilt(study)
    best = [
        name
        for name in methods
        if gains[name][1] > 0
        and name not in behind
        and not any(between[other, name][1] > 0 for other in methods if other != name)
    ]
    best.sort(key=lambda name: (name != TILT, -gains[name][1]))
    minus_tilt = {each: between[each, TILT] for each in methods if (each, TILT) in between}
    return Rivals(column, gains, tuple(best), minus_tilt, _strengths(study, column))


def _differences(frame: pd.DataFrame) -> dict[tuple[str, str], Bounds]:
    """Of each pair in both orders."""
    fields = ["method", "other", "difference", "low", "high"]
    found: dict[tuple[str, str], Bounds] = {}
    for method, other, value, low, high in frame[fields].itertuples(index=False, name=None):
        found[method, other], found[other, method] = (value, low, high), (-value, -high, -low)
    return found


def _methods(study: StudyFolder) -> list[str]:
    """Labels of runs that are given what a user has: neither noise nor a control nor the truth."""
    return list(
        dict.fromkeys(
            label_of(run)
            for _, run, noise in runs_of(study.record)
            if not noise["place"]
            and not run.get("control")
            and run["algorithm"]["class"] not in NO_METHOD
        )
    )


def _behind_the_tilt(study: StudyFolder) -> set[str]:
    """The methods that the tilt leads at every KL that they reach, in every column."""
    frame = study.frame("equal_kl.csv")
    if frame is None:
        return set()
    known = frame[(frame["place"].fillna("") == "") & frame["lead"].notna()]
    is_behind = (known["lead_high"] < 0).groupby(known["method"]).all()
    return set(is_behind.index[is_behind])


def _strengths(study: StudyFolder, column: str) -> dict[str, str]:
    """What validation chose, as the table says it; otherwise that of the only run."""
    cells = study.cells[(study.cells["column"] == column) & (study.cells["place"] == "")]
    found = {label_of(run): str(run.get("strength") or "") for _, run, _ in runs_of(study.record)}
    if "strength" in cells:
        found |= dict(zip(cells["method"], cells["strength"].fillna("").astype(str), strict=True))
    return found
