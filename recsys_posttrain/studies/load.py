"""An experiment file as a Study: its runs, changed as asked, and checked before anything starts."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from recsys_posttrain.config import describe, digest, require
from recsys_posttrain.data.table_file import Duplicates
from recsys_posttrain.errors import UserError
from recsys_posttrain.override import override, suggestion
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.rewards.control import TrueRewards
from recsys_posttrain.seeding import require_seeds
from recsys_posttrain.studies.experiment import experiment_module
from recsys_posttrain.studies.folder import definition
from recsys_posttrain.studies.keys import EvalSplit
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.worlds.base import world
from recsys_posttrain.worlds.catalog import by_rule, check_data_root, dataset_named, split_named

NO_TUNING = "no trials for any method, all at their defaults"


class Study(NamedTuple):
    """The runs of an experiment file, changed as asked.

    file: where it is written.
    dataset: the one asked for; None: the runs' own.
    name: of its folder.
    runs: one per row of the table, without seeds.
    eval_split: the targets of the table.
    tuning: how the settings were chosen, for the caption.
    split: the name given for it on the command line.
    redraws_noise: whether each seed draws noise of its own.
    full_seeds: whether a seed is also that of pretraining and of the reward model; otherwise all
        seeds start from one pretrained policy and one reward model.
    """

    file: Path
    dataset: str | None
    name: str
    runs: tuple[Run, ...]
    seeds: tuple[int, ...]
    eval_split: EvalSplit
    tuning: str
    split: str | None
    redraws_noise: bool = False
    full_seeds: bool = False

    def definition(self, overrides: Sequence[str]) -> dict[str, str]:
        """What the study's results are of (folder.py)."""
        return definition(
            self.file,
            self.runs[0].setup.dataset,
            kind="study",
            set=" ".join(sorted(overrides)),
            split=self.split or "",
            targets=self.eval_split,
        )

    def with_seed(self, run: Run, seed: int) -> Run:
        noise = replace(run.noise, seed=seed) if self.redraws_noise else run.noise
        return replace(run, noise=noise).with_seed(seed, self.full_seeds)

    def with_seeds(self) -> Iterator[tuple[int, int, Run]]:
        """Each run with each seed, after the seed and the run's place; seed by seed."""
        for seed in self.seeds:
            for place, run in enumerate(self.runs):
                yield seed, place, self.with_seed(run, seed)

    def setups(self) -> list[tuple[str, int, Setup]]:
        """Those that the runs start from: what tells them apart in a name, a seed, the setup. One
        that serves all seeds has the first of them."""
        bare = list(dict.fromkeys(run.setup.label for run in self.runs))
        found: list[tuple[str, int, Setup]] = []
        for seed, _, run in self.with_seeds():
            if run.setup not in [setup for _, _, setup in found]:
                found.append((f" {run.setup.label}" * (len(bare) > 1), seed, run.setup))
        return found


def load_study(
    file: Path,
    overrides: Sequence[str],
    dataset: str | None,
    seeds: int | None,
    data_root: str | None,
    eval_split: EvalSplit = "test",
    split: str | None = None,
    thresholds: Thresholds = Thresholds(),
    duplicates: Duplicates | None = None,
    full_seeds: bool = False,
) -> Study:
    """The Run values of `RUNS` in an experiment file, changed as asked; its `SEEDS` by default.

    The file is Python and is executed: whoever wrote it can do what you can. `TUNING` in it, a
    sentence, says how its settings were chosen; `FULL_SEEDS = True` is what full_seeds is.
    """
    experiment = experiment_module(file)
    runs = getattr(experiment, "RUNS", None)
    is_list = isinstance(runs, list | tuple) and all(isinstance(run, Run) for run in runs)
    if not runs or not is_list:
        raise UserError(f"{file} defines no RUNS: give it a list RUNS of Run(algorithm=...) values")
    changed = []
    for run in runs:
        setup = reading(run.setup, dataset, data_root, thresholds, duplicates)
        if split is not None:
            setup = replace(setup, split=split_named(split))
        changed.append(replace(run, setup=setup))
    runs = _overridden(tuple(changed), overrides)
    _check(runs, file)
    name = f"{file.stem}-{runs[0].setup.dataset.name}"
    if split is not None:
        name += f"-{split}"
    if changes := sorted([*overrides, *thresholds.options]):
        name += f"-{digest(changes, 6)}"
    full = getattr(experiment, "FULL_SEEDS", False)
    require(isinstance(full, bool), f"{file}: FULL_SEEDS={full!r} must be True or False.")
    full_seeds = full_seeds or full
    if full_seeds:
        name += "-full-seeds"
    if eval_split != "test":
        name += f"-{eval_split}"
    chosen = getattr(experiment, "SEEDS", (0,)) if seeds is None else tuple(range(seeds))
    require_seeds(chosen, f"{file}: SEEDS")
    tuning = getattr(experiment, "TUNING", NO_TUNING)
    require(isinstance(tuning, str), f"{file}: TUNING={tuning!r} must be text, for the caption.")
    return Study(
        file, dataset, name, runs, tuple(chosen), eval_split, tuning, split, full_seeds=full_seeds
    )


def reading(
    setup: Setup,
    dataset: str | None,
    data_root: str | None,
    thresholds: Thresholds = Thresholds(),
    duplicates: Duplicates | None = None,
) -> Setup:
    """The setup on the dataset of that name, or on its own; read from data_root, with thresholds,
    and by that rule for duplicates, where they are given."""
    setup = replace(setup, thresholds=replace(setup.thresholds, **thresholds.given))
    if dataset is not None:
        return replace(setup, dataset=dataset_named(dataset, data_root, duplicates))
    if duplicates is not None:
        setup = replace(setup, dataset=by_rule(setup.dataset, duplicates))
    if data_root is None:
        return setup
    if hasattr(setup.dataset, "data_root"):
        return override(setup, f"dataset.data_root={data_root}")
    if hasattr(setup.dataset, "source"):
        return override(setup, f"dataset.source.data_root={data_root}")
    check_data_root(data_root, getattr(setup.dataset, "path", setup.dataset.name))
    return setup


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
    for run in runs:  # refused now, not when its turn comes
        describe(run)
        if isinstance(run.control, TrueRewards):
            world(run.setup.dataset)
    setups: dict[str, Setup] = {}
    for setup in (run.setup for run in runs):
        require(
            setup.data == runs[0].setup.data,
            f"{file}: all runs of one study must share dataset, split, thresholds and repeats, "
            "because its table compares them on the same targets; put the others into a study of "
            "their own",
        )
        require(
            setups.setdefault(setup.label, setup) == setup,
            f"{file}: two setups are called {setup.label!r}; give one of them a name=",
        )
