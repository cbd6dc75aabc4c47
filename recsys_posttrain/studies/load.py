"""An experiment file as a Study: its runs, changed as asked, and checked before anything starts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from recsys_posttrain.config import digest, require
from recsys_posttrain.data.table_file import Duplicates
from recsys_posttrain.errors import UserError
from recsys_posttrain.override import override, suggestion
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.rewards.control import TrueRewards
from recsys_posttrain.seeding import require_seeds
from recsys_posttrain.studies.experiment import experiment_module
from recsys_posttrain.studies.folder import definition
from recsys_posttrain.studies.keys import On, shared_part
from recsys_posttrain.studies.run import Run
from recsys_posttrain.worlds.base import world
from recsys_posttrain.worlds.catalog import by_rule, check_data_root, dataset_named, split_named

NO_TUNING = "no trials for any method, all at their defaults"


class Study(NamedTuple):
    """file: where it is written. dataset: the one asked for; None: the runs' own. name: of its
    folder. runs: one per row of the table, without seeds. on: the targets of the table. tuning: how
    the settings were chosen, for the caption. split: the name given for it on the command line.
    redraws_noise: whether each seed draws noise of its own."""

    file: Path
    dataset: str | None
    name: str
    runs: tuple[Run, ...]
    seeds: tuple[int, ...]
    on: On
    tuning: str
    split: str | None
    redraws_noise: bool = False

    def definition(self, overrides: Sequence[str]) -> dict[str, str]:
        """What the study's results are of (study_results.py)."""
        return definition(
            self.file,
            self.runs[0].dataset,
            kind="study",
            set=" ".join(sorted(overrides)),
            split=self.split or "",
            targets=self.on,
        )

    def with_seed(self, run: Run, seed: int) -> Run:
        noise = replace(run.noise, seed=seed) if self.redraws_noise else run.noise
        return replace(run, noise=noise).with_seed(seed)


def load_study(
    file: Path,
    overrides: Sequence[str],
    dataset: str | None,
    seeds: int | None,
    data_root: str | None,
    on: On = "test",
    split: str | None = None,
    thresholds: Thresholds = Thresholds(),
    duplicates: Duplicates | None = None,
) -> Study:
    """The Run values of `RUNS` in an experiment file, changed as asked; its `SEEDS` by default.

    The file is Python and is executed: whoever wrote it can do what you can. `TUNING` in it, a
    sentence, says how its settings were chosen.
    """
    experiment = experiment_module(file)
    runs = getattr(experiment, "RUNS", None)
    is_list = isinstance(runs, list | tuple) and all(isinstance(run, Run) for run in runs)
    if not runs or not is_list:
        raise UserError(f"{file} defines no RUNS: give it a list RUNS of Run(algorithm=...) values")
    runs = tuple(reading(run, dataset, data_root, thresholds, duplicates) for run in runs)
    if split is not None:
        runs = tuple(replace(run, split=split_named(split)) for run in runs)
    runs = _overridden(runs, overrides)
    _check(runs, file)
    name = f"{file.stem}-{runs[0].dataset.name}"
    if split is not None:
        name += f"-{split}"
    if changes := sorted([*overrides, *thresholds.options]):
        name += f"-{digest(changes, 6)}"
    if on != "test":
        name += f"-{on}"
    chosen = getattr(experiment, "SEEDS", (0,)) if seeds is None else tuple(range(seeds))
    require_seeds(chosen, f"{file}: SEEDS")
    tuning = getattr(experiment, "TUNING", NO_TUNING)
    require(isinstance(tuning, str), f"{file}: TUNING={tuning!r} must be text, for the caption.")
    return Study(file, dataset, name, runs, tuple(chosen), on, tuning, split)


def reading(
    run: Run,
    dataset: str | None,
    data_root: str | None,
    thresholds: Thresholds = Thresholds(),
    duplicates: Duplicates | None = None,
) -> Run:
    """The run on the dataset of that name, or on its own; read from data_root, with thresholds, and
    by that rule for duplicates, where they are given."""
    run = replace(run, thresholds=replace(run.thresholds, **thresholds.given))
    if dataset is not None:
        return replace(run, dataset=dataset_named(dataset, data_root, duplicates))
    if duplicates is not None:
        run = replace(run, dataset=by_rule(run.dataset, duplicates))
    if data_root is None:
        return run
    if hasattr(run.dataset, "data_root"):
        return override(run, f"dataset.data_root={data_root}")
    if hasattr(run.dataset, "source"):
        return override(run, f"dataset.source.data_root={data_root}")
    check_data_root(data_root, getattr(run.dataset, "path", run.dataset.name))
    return run


def _overridden(runs: tuple[Run, ...], assignments: Sequence[str]) -> tuple[Run, ...]:
    """Each assignment changes every run that has the field; at least one must have it."""
    for assignment in assignments:
        changed, refusals = [], []
        for run in runs:
            try:
                changed.append(override(run, assignment))
            except UserError as refusal:
                if "has no field" not in str(refusal):  # it has it, and refuses the value
                    raise
                changed.append(run)
                refusals.append(refusal)
        if len(refusals) == len(runs):
            if len({str(refusal) for refusal in refusals}) == 1:
                raise refusals[0]
            labels = ", ".join(run.label for run in runs)
            raise UserError(
                f"--set {assignment}: no run of the study has this field"
                f"{suggestion(runs, assignment)} (its runs: {labels})"
            )
        runs = tuple(changed)
    return runs


def _check(runs: tuple[Run, ...], file: Path) -> None:
    labels = [run.label for run in runs]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise UserError(f"{file}: two runs are called {twice.pop()!r}; give one of them a name=")
    for run in runs:
        if isinstance(run.control, TrueRewards):
            world(run.dataset)  # refused now, not when its turn comes
    if any(shared_part(run) != shared_part(runs[0]) for run in runs):
        raise UserError(
            f"{file}: all runs of one study must share dataset, split, backbone, pretraining, "
            "reward model and pretraining seed; put the others into a study of their own"
        )
