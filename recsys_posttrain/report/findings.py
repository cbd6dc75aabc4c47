"""What one study says for a reward model as good as yours, as advice reads it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from recsys_posttrain.report import evidence
from recsys_posttrain.report.cells import between, decimal
from recsys_posttrain.report.evidence import Condition
from recsys_posttrain.report.nearest import clean_accuracy
from recsys_posttrain.report.noise_quality import AXES
from recsys_posttrain.report.rivals import Bounds, rivals
from recsys_posttrain.report.study_folder import StudyFolder, by_line, value_columns
from recsys_posttrain.stats.equal_kl import REFERENCE, TILT


class Finding(NamedTuple):
    """best: the methods that it supports at this quality, the first one first. is_near: whether its
    reward models were as good. rival: of what it supports first, the trained method nearest to the
    tilt and what that is ahead of it. verdict, lines: in words."""

    study: str
    is_near: bool
    best: tuple[str, ...]
    strengths: dict[str, str]
    has_tilt: bool
    rival: tuple[str, Bounds] | None
    verdict: str
    lines: tuple[str, ...]


def is_evidence(study: StudyFolder) -> bool:
    """Whether it compares methods that one could choose, on targets that did not choose their
    strengths, and says how good its reward model was."""
    if study.record.get("eval_split", "test") != "test":
        return False
    is_compared = rivals(study) is not None and clean_accuracy(study) is not None
    return evidence.has_noisy_models(study) or is_compared


def finding(study: StudyFolder, model: pd.Series) -> Finding:
    """Of what `is_evidence`. model: a row of `quality_frame`, and what `measure_axis` measured."""
    if evidence.has_noisy_models(study):
        return of_errors(study, model)
    return of_methods(study, model)


def of_methods(study: StudyFolder, model: pd.Series) -> Finding:
    """Of a study without noise: its reward model has one quality."""
    found, ends = rivals(study), clean_accuracy(study)
    assert found is not None
    assert ends is not None
    low, high = (float(model[f"pairwise_accuracy_{end}"]) for end in ("low", "high"))
    is_near = low <= ends[1] and ends[0] <= high
    first = found.best[0] if found.best else max(found.gains, key=lambda name: found.gains[name][1])
    gain = f"{first} {_bounds(found.gains[first])}"
    ahead = max(found.minus_tilt.items(), key=lambda pair: pair[1][0], default=None)
    measured = f"{found.column} minus {REFERENCE}, no noise, pairwise accuracy {between(*ends)}"
    lines = [f"    {measured}: {gain}"]
    if TILT in found.gains and first != TILT:
        lines.append(f"    the tilt {_bounds(found.gains[TILT])}")
    if ahead is not None:
        lines.append(f"    nearest to the tilt: {ahead[0]}, {_bounds(ahead[1])} beside it")
    if not is_near:
        verdict = f"your model is {'better' if low > ends[1] else 'worse'} than what was studied."
    elif not found.best:
        verdict = f"no method is above {REFERENCE} by more than its interval."
    elif found.best[0] == TILT:
        verdict = "the tilt gains without training, and no trained method is above it."
    else:
        verdict = f"{_some(found.best)} above {REFERENCE}, no other is above."
    best = found.best if is_near else ()
    facts = best, found.strengths, TILT in found.gains, ahead, verdict, tuple(lines)
    return Finding(study.path.name, is_near, *facts)


def of_errors(study: StudyFolder, model: pd.Series) -> Finding:
    """Of a study of errors in the reward model, read at the quality of this one: its axis decides
    (report/noise_quality.py)."""
    # A model of logged data has a judge. A study's correlation with its judge is what that compares
    # with; where it has the one with the truth alone, it is compared all the same.
    judged = replace(study, cells=study.cells.drop(columns="projected_truth", errors="ignore"))
    by_judge = "projected_judge" in model and "projected_truth" not in model
    if by_judge and evidence.axis_of_models(judged) == "projected_judge":
        study = judged
    axis = evidence.axis_of_models(study)
    own = axis if axis in model else "projected_judge"
    quality, low, high = (float(model[f"{own}{end}"]) for end in ("", "_low", "_high"))
    conditions = evidence.conditions_at(study, low, quality, high)
    near = [each for each in conditions if each.is_near]
    best = evidence.paying(near, evidence.supported(near)) if near else frozenset()
    clean, noisy = ([c for c in conditions if bool(c.level) == is_noisy] for is_noisy in (0, 1))
    shown = [*sorted(clean, key=lambda each: not each.is_near)[:1], *noisy]
    name, bound = evidence.safest(conditions)
    lines = (
        f"    {value_columns(study)[0]} minus {study.control}, nearest to your {AXES[own]} "
        f"{decimal(quality)} {between(low, high)}, by {AXES[axis]}:",
        *map(_line, shown),
        f"    largest worst case over all of these: {name}, at least {decimal(bound, sign=True)}",
    )
    worst = {name: min(each.differences[name][1] for each in near) for name in best}
    order = tuple(sorted(best, key=lambda name: (-worst[name], name)))
    strengths = {name: _strength(study, name, near) for name in order}
    has_tilt = any(TILT in each.differences for each in near)
    facts = strengths, has_tilt, None, _verdict(study, low, high, near, order), lines
    return Finding(study.path.name, bool(near), order, *facts)


def _verdict(
    study: StudyFolder, low: float, high: float, near: list[Condition], best: tuple[str, ...]
) -> str:
    if not near:
        studied = between(*evidence.studied_range(study))
        return f"your model, {between(low, high)}, is outside of what was studied, {studied}."
    if best:
        errors = "every error that was studied at your quality"
        return f"{_some(best)} above policies trained without rewards under {errors}."
    supported = evidence.supported(near)
    if not supported:
        return "it depends on your model's errors: no method is among the best under all of them."
    named = ", ".join(sorted(supported - {*evidence.UNTRAINED})) or "no trained method"
    return f"no interval is above that of a policy without rewards; among the best: {named}."


def _strength(study: StudyFolder, method: str, near: list[Condition]) -> str:
    """What validation chose in these conditions."""
    table = by_line(study, value_columns(study)[0])
    if "strength" not in table:
        return ""
    chosen = dict.fromkeys(
        str(text)
        for condition in near
        for text in table[
            (table["method"] == method)
            & (table["level"] == condition.level)
            & (table["kind"].fillna("") == (condition.kind if condition.level else ""))
        ]["strength"]
    )
    return " or ".join(text for text in chosen if text not in ("", "nan"))


def _line(condition: Condition) -> str:
    first, *others = condition.ordered
    equal = [name for name in others if name in condition.best]
    far = "" if condition.is_near else " (its qualities are not near yours)"
    which = f"not distinguished from {', '.join(equal)}" if equal else "distinguished from all"
    level = f"{condition.kind} {condition.level:g}" if condition.level else "no noise"
    return (
        f"      {level:<18} at {decimal(condition.quality)}: {first} "
        f"{_bounds(condition.differences[first])}, {which}{far}"
    )


def _bounds(bounds: Bounds) -> str:
    value, low, high = (decimal(each, sign=True) for each in bounds)
    return f"{value} [{low}, {high}]"


def _some(names: Iterable[str]) -> str:
    first, *others = names
    more = f" and {len(others)} more, not told apart, are" if others else " is"
    return f"{first}{more}"
