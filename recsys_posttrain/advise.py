"""`recsys-posttrain advise`: which algorithm the committed studies support for a reward model as
good as yours. Quality is what the study's own axis measures (report/noise_quality.py); where the
studies do not decide, it says so."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.data.table_file import FileRules
from recsys_posttrain.data.user_holdout import UserHoldout
from recsys_posttrain.report import evidence
from recsys_posttrain.report.cells import between, decimal
from recsys_posttrain.report.evidence import Condition
from recsys_posttrain.report.noise_quality import AXES
from recsys_posttrain.report.study_folder import (
    StudyFolder,
    has_results,
    study_folder,
    value_columns,
)
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.worlds.catalog import dataset_named

RESULTS = Path(__file__).resolve().parents[1] / "experiments" / "results"  # of a checkout


def advise_on(
    dataset: str,
    data_root: str | None,
    studies: Path | None,
    output: Path,
    device: str,
    rules: FileRules = FileRules(),
) -> str:
    """Trains and measures the default reward model on the dataset (a stage, reused), and where a
    study's axis asks for them a policy and a judge; reads every study of noise in `studies`, by
    default the checkout's results.

    Raises: UserError for an unknown dataset, or where there is no such study.
    """
    folder = RESULTS if studies is None else studies
    ended = [study_folder(path) for path in sorted(folder.glob("*")) if has_results(path)]
    found = [study for study in ended if evidence.has_noisy_models(study)]
    require(
        found,
        f"{folder} holds no study of noise in the reward model; give --studies experiments/results "
        "of a checkout, or run make study.",
    )
    setup = Setup(dataset=dataset_named(dataset, data_root, rules), split=UserHoldout())
    pipeline = Pipeline(setup, output, device)
    quality = pipeline.rewards.measure()
    require(
        quality is not None,
        f"{setup.dataset.name} has no rewards to learn: {pipeline.rewards.missing}; give "
        "a dataset with rewards.",
    )
    assert quality is not None
    model = quality.iloc[-1]  # after the baselines
    if any(evidence.axis_of_models(study).startswith("projected") for study in found):
        model = pd.concat([model, pd.Series(pipeline.rewards.measure_axis(RewardNoise()))])
    return "\n".join(
        [
            f"Studies in {folder}",
            f"Your reward model on {pipeline.data.corpus.name}, trained with the defaults",
            *_measured(quality),
            *(line for study in found for line in advice(study, setup.dataset.name, model)),
        ]
    )


def advice(study: StudyFolder, dataset: str, model: pd.Series) -> Iterator[str]:
    """Evidence and verdict of one study for a reward model with this row of `quality_frame`, and
    what `measure_axis` measured."""
    axis = evidence.axis_of_models(study)
    # A model of logged data has a judge; its projected correlation is compared all the same.
    own = axis if axis in model else "projected_judge"
    quality, low, high = (float(model[f"{own}{end}"]) for end in ("", "_low", "_high"))
    conditions = evidence.conditions_at(study, low, quality, high)
    yield ""
    yield (
        f"Evidence: {study.path.name} (commit {study.record['commit']}), "
        f"{value_columns(study)[0]} minus {study.control}, 95% intervals, nearest to yours, "
        f"{AXES[own]} {decimal(quality)} {between(low, high)}, by {AXES[axis]}"
    )
    clean, noisy = ([c for c in conditions if bool(c.level) == is_noisy] for is_noisy in (0, 1))
    yield from (_line(each) for each in sorted(clean, key=lambda c: not c.is_near)[:1])
    yield from (_line(each) for each in noisy)
    name, bound = evidence.safest(conditions)
    yield (
        f"  largest worst case over all of these: {name}, at least {decimal(bound, sign=True)} "
        "(lower end of its interval)"
    )
    yield f"Verdict: {verdict(study, dataset, low, high, conditions)}"
    yield (
        "Not measured: which errors your model makes, errors in the logged rewards (under them the "
        "order can be the reverse), and other strengths than those of the study."
    )


def verdict(
    study: StudyFolder, dataset: str, low: float, high: float, conditions: list[Condition]
) -> str:
    """One paragraph; "not enough evidence" unless one method is supported under all errors."""
    lowest, highest = evidence.studied_range(study)
    if study.dataset != dataset:
        return (
            f"not enough evidence: the study is of {study.dataset}, and whether its order of "
            f"methods holds on {dataset} was not tested."
        )
    if high < lowest or low > highest:
        return (
            f"not enough evidence: your model, {decimal(low)} to {decimal(high)}, is outside of "
            f"what was studied, {decimal(lowest)} to {decimal(highest)}."
        )
    best = evidence.supported(conditions)
    if not best:
        return (
            "not enough evidence: it depends on your model's errors, as no method is among the "
            "best under all that were studied."
        )
    paying = evidence.paying(conditions, best)
    if not paying:
        return (
            f"not enough evidence that post-training pays: {_names(best - {*evidence.UNTRAINED})} "
            "is among the best, but its interval overlaps that of a policy trained without rewards."
        )
    if len(paying) > 1:
        return f"not enough evidence to choose: the intervals of {_names(paying)} overlap."
    return (
        f"use {_names(paying)}: under every error that was studied at your quality it is among "
        "the best and above the policies that are trained without rewards."
    )


def _measured(quality: pd.DataFrame) -> Iterator[str]:
    """The model beside the best naive baseline, by both measures."""
    naive, model = quality.iloc[:-1], quality.iloc[-1]
    for title, name, sign in (("pairwise accuracy", "pairwise_accuracy", 1), ("RMSE", "rmse", -1)):
        best = naive.iloc[int((sign * naive[name]).to_numpy().argmax())]
        gap = sign * (model[name] - best[name])
        overlap = model[f"{name}_low"] <= best[f"{name}_high"]
        overlap &= best[f"{name}_low"] <= model[f"{name}_high"]
        outcome = "intervals overlap" if overlap else "better" if gap > 0 else "worse"
        yield f"  {title:<18} {_interval(model, name)}; best naive: {best.name}, " + (
            f"{_interval(best, name)}; gap {decimal(gap, sign=True)}, {outcome}"
        )
    counts = f"{model['events']:,.0f} events of {model['users']:,.0f} users"
    yield f"  {counts} that it did not learn from"


def _interval(row: pd.Series, name: str) -> str:
    return f"{decimal(row[name])} {between(row[f'{name}_low'], row[f'{name}_high'])}"


def _line(condition: Condition) -> str:
    first, *others = condition.ordered
    value, low, high = condition.differences[first]
    equal = [name for name in others if name in condition.best]
    far = "" if condition.is_near else " (its qualities are not near yours)"
    which = f"not distinguished from {', '.join(equal)}" if equal else "distinguished from all"
    level = f"{condition.kind} {condition.level:g}" if condition.level else "no noise"
    return (
        f"    {level:<20} at {decimal(condition.quality)}: {first} "
        f"{decimal(value, sign=True)} [{decimal(low, sign=True)}, {decimal(high, sign=True)}], "
        f"{which}{far}"
    )


def _names(methods: frozenset[str]) -> str:
    return ", ".join(sorted(methods)) or "none"
