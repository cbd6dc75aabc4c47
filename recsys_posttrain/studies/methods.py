"""Which runs of an experiment file a study has: its RUNS, or those of the methods asked for."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from recsys_posttrain.data.table_file import FileRules
from recsys_posttrain.errors import UserError, did_you_mean, nearest
from recsys_posttrain.studies.baselines import baselines_of
from recsys_posttrain.studies.experiment import explained
from recsys_posttrain.studies.run import Run
from recsys_posttrain.worlds.catalog import dataset_named

CONTROL = "BC"


def runs_of(
    experiment: ModuleType,
    file: Path,
    dataset: str | None,
    data_root: str | None,
    rules: FileRules,
) -> list[Run]:
    """RUNS, or what it returns of the dataset where it is a function."""
    runs = getattr(experiment, "RUNS", None)
    if callable(runs):
        given = [] if dataset is None else [dataset_named(dataset, data_root, rules)]
        with explained(file):
            runs = runs(*given)
    if not runs or not _are_runs(runs):
        raise UserError(f"{file} defines no RUNS: give it a list RUNS of Run(algorithm=...) values")
    return list(runs)


def asked_for(
    experiment: ModuleType, file: Path, runs: Sequence[Run], methods: str, is_grid: bool
) -> tuple[list[Run], tuple[str, ...]]:
    """The runs of the methods whose labels are given, separated by commas, and all labels that the
    study then has, the control always with them: BC, or the first method that is trained.

    A method of the file's ON_REQUEST is there only where it is asked for. Rows without training
    are in every table, and may be asked for too.
    """
    more = getattr(experiment, "ON_REQUEST", [])
    if not _are_runs(more):
        raise UserError(f"{file}: ON_REQUEST={more!r} must be a list of Run(algorithm=...) values.")
    runs = [*runs, *more]
    rows = [*baselines_of(experiment, file, runs, is_grid), *runs]
    labels = list(dict.fromkeys(run.label for run in rows))
    trained = [run.label for run in runs if run.is_trained]
    control = CONTROL if CONTROL in trained else next(iter(trained), "")
    asked = {control, *_named(methods, labels)}
    kept = [run for run in runs if run.label in asked]
    return kept, tuple(label for label in labels if label in asked)


def _named(text: str, labels: Sequence[str]) -> Iterable[str]:
    """The labels of the text; they may hold commas themselves."""
    rest = text.strip()
    while True:
        starts = [each for each in labels if re.match(rf"{re.escape(each)}\s*(,|$)", rest)]
        if not starts:
            wrong, lower = rest.partition(",")[0].strip(), {each.lower(): each for each in labels}
            hint = did_you_mean(lower.get(nearest(wrong.lower(), lower, cutoff=0), ""))
            raise UserError(
                f"--methods {text}: the study has no method {wrong!r}{hint} "
                f"(its methods: {'; '.join(labels)})"
            )
        label = max(starts, key=len)
        yield label
        rest = rest[len(label) :].lstrip()
        if not rest:
            return
        rest = rest.removeprefix(",").lstrip()


def _are_runs(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(run, Run) for run in value)
