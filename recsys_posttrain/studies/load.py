"""An experiment file as a Study: its runs, changed as asked, and checked before anything starts."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import NamedTuple

import pandas as pd

from recsys_posttrain.config import describe, digest, require
from recsys_posttrain.data.table_file import FileRules
from recsys_posttrain.errors import UserError
from recsys_posttrain.override import override
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.rewards.control import TrueRewards
from recsys_posttrain.seeding import require_seeds
from recsys_posttrain.stats.pairs import MARGIN
from recsys_posttrain.studies.baselines import baselines_of
from recsys_posttrain.studies.experiment import experiment_module, explained
from recsys_posttrain.studies.folder import definition
from recsys_posttrain.studies.keys import EvalSplit
from recsys_posttrain.studies.methods import asked_for, runs_of
from recsys_posttrain.studies.overridden import overridden
from recsys_posttrain.studies.own_files import OwnFiles
from recsys_posttrain.studies.rules import OWN, rule_of
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.worlds.base import world
from recsys_posttrain.worlds.catalog import by_rules, check_data_root, dataset_named, split_named

# All runs of the file, those that were built, and their validation means (choose.py): those that
# are built next. At first none was.
NextRuns = Callable[[Sequence[Run], Sequence[Run], pd.DataFrame], Sequence[Run]]
NO_TUNING = "no trials for any method, all at their defaults"


class Study(NamedTuple):
    """The runs of an experiment file, changed as asked.

    file: where it is written.
    dataset: the one asked for; None: the runs' own.
    name: of its folder.
    runs: those of the file, one per row of the table, without seeds.
    baselines: the rows above them (baselines.py). Outside of a grid, of those with one label the
        one that validation targets choose is kept.
    eval_split: the targets of the table.
    tuning: how the settings were chosen, for the caption.
    split: the name given for it on the command line.
    redraws_noise: whether each seed draws noise of its own.
    full_seeds: whether a seed is also that of pretraining and of the reward model; otherwise all
        seeds start from one pretrained policy and one reward model.
    is_grid: whether several runs are one method, at several strengths or under several noises.
    next_runs: where it is given, it chooses which runs are built, again and again until it adds
        none.
    strengths: how many the file has of each label.
    equal_within: up to which share of the control's value, or of a star, two methods are equal.
    rule: what strengths are chosen by (rules.py).
    methods: the labels of those asked for, and of the control; empty: all are there.
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
    is_grid: bool = False
    next_runs: NextRuns | None = None
    baselines: tuple[Run, ...] = ()
    strengths: Mapping[str, int] = MappingProxyType({})
    equal_within: float = MARGIN
    rule: str = OWN
    methods: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[Run, ...]:
        """All runs, in the order of the table."""
        return *self.baselines, *self.runs

    def title(self, run: Run) -> str:
        """What tells the run from the others."""
        return run.title if self.is_grid else run.label

    def grown(self, built: Sequence[Run], validation: pd.DataFrame) -> "Study":
        """With the runs that were built and those that `next_runs` adds; their order stays."""
        assert self.next_runs is not None
        with explained(self.file):
            titles = {self.title(run) for run in self.next_runs(self.rows, built, validation)}
        require(
            titles <= {self.title(run) for run in self.rows},
            f"{self.file}: NEXT_RUNS returned a run that it was not given; it can only choose.",
        )
        titles |= {self.title(run) for run in built}
        runs, baselines = (
            tuple(run for run in each if self.title(run) in titles)
            for each in (self.runs, self.baselines)
        )
        return self._replace(runs=runs, baselines=baselines)

    def definition(self, overrides: Sequence[str]) -> dict[str, str]:
        """What the study's results are of (folder.py)."""
        return definition(
            self.file,
            self.runs[0].setup.dataset,
            kind="study",
            set=" ".join(sorted(overrides)),
            split=self.split or "",
            targets=self.eval_split,
            **({"methods": self.chosen} if self.methods else {}),
        )

    @property
    def chosen(self) -> str:
        """The methods as the command line has them."""
        return ",".join(self.methods)

    def with_seed(self, run: Run, seed: int) -> Run:
        noise = replace(run.noise, seed=seed) if self.redraws_noise else run.noise
        return replace(run, noise=noise).with_seed(seed, self.full_seeds)

    def with_seeds(self) -> Iterator[tuple[int, Run]]:
        """Each run with each seed, after the seed; seed by seed. One without training has only
        seeds that change what it reads."""
        before: list[list[Run]] = [[] for _ in self.rows]
        for seed in self.seeds:
            for run, known in zip(self.rows, before, strict=True):
                seeded = self.with_seed(run, seed)
                read = seeded if run.is_trained else replace(seeded, seed=0)
                if read not in known:
                    known.append(read)
                    yield seed, seeded

    def setups(self) -> list[tuple[str, int, Setup]]:
        """Those that the runs start from: what tells them apart in a name, a seed, the setup. One
        that serves all seeds has the first of them."""
        bare = list(dict.fromkeys(run.setup.label for run in self.runs))
        found: list[tuple[str, int, Setup]] = []
        for seed, run in self.with_seeds():
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
    rules: FileRules = FileRules(),
    full_seeds: bool = False,
    methods: str | None = None,
    own: OwnFiles = OwnFiles(),
) -> Study:
    """The Run values of `RUNS` in an experiment file, changed as asked; its `SEEDS` by default.
    `BASELINES`, a list of methods, takes the place of METHODS (baselines.py); empty: of the rows
    above those of RUNS only Popularity and Pretrained are there.
    methods: the labels of those that are run, in place of all; runs of `ON_REQUEST` are there only
    where they are asked for in this way (methods.py).

    The file is Python and is executed: whoever wrote it can do what you can. RUNS may be a function
    of the dataset that returns them. `TUNING` in it, a sentence, says how its settings were chosen;
    `FULL_SEEDS = True` is what full_seeds is; `REDRAWS_NOISE`, `NEXT_RUNS` and `EQUAL_WITHIN`: as
    in Study; `CHOSEN_BY`: its rule.
    """
    experiment = experiment_module(file)
    changed = []
    written = runs_of(experiment, file, dataset, data_root, rules)
    asked: tuple[str, ...] = ()
    is_grid = len({run.label for run in written}) < len(written)
    if methods is not None:
        written, asked = asked_for(experiment, file, written, methods, is_grid)
    for run in written:
        setup = reading(run.setup, dataset, data_root, thresholds, rules)
        if split is not None:
            setup = replace(setup, split=split_named(split))
        changed.append(replace(run, setup=setup))
    runs = overridden(tuple(own.changed(changed)), overrides)
    rows = baselines_of(experiment, file, runs, is_grid)
    if asked:
        rows = tuple(run for run in rows if not run.is_trained or run.label in asked)
    _check(runs, file, is_grid)
    name = f"{file.stem}-{runs[0].setup.dataset.name}"
    if split is not None:
        name += f"-{split}"
    if changes := sorted([*overrides, *thresholds.options, *rules.options, *own.options, *asked]):
        name += f"-{digest(changes, 6)}"
    full_seeds = full_seeds or _flag(experiment, "FULL_SEEDS", file)
    if full_seeds:
        name += "-full-seeds"
    if eval_split != "test":
        name += f"-{eval_split}"
    numbers = getattr(experiment, "SEEDS", (0,)) if seeds is None else tuple(range(seeds))
    require_seeds(numbers, f"{file}: SEEDS")
    tuning = getattr(experiment, "TUNING", NO_TUNING)
    require(isinstance(tuning, str), f"{file}: TUNING={tuning!r} must be text, for the caption.")
    next_runs = getattr(experiment, "NEXT_RUNS", None)
    require(
        next_runs is None or callable(next_runs),
        f"{file}: NEXT_RUNS={next_runs!r} must be a function of all runs, those built and their "
        "validation means.",
    )
    redraws_noise = _flag(experiment, "REDRAWS_NOISE", file)
    margin = getattr(experiment, "EQUAL_WITHIN", MARGIN)
    require(
        isinstance(margin, float) and margin > 0,
        f"{file}: EQUAL_WITHIN={margin!r} must be a share above 0, such as {MARGIN}.",
    )
    return Study(
        file, dataset, name, runs, tuple(numbers), eval_split, tuning, split, redraws_noise,
        full_seeds, is_grid, next_runs, rows, _strengths((*runs, *rows)), margin,
        rule_of(experiment, file), asked,
    )  # fmt: skip


def _strengths(runs: Sequence[Run]) -> Mapping[str, int]:
    return Counter(label for label, _ in {(run.label, run.strength) for run in runs})


def _flag(experiment: ModuleType, name: str, file: Path) -> bool:
    value = getattr(experiment, name, False)
    require(isinstance(value, bool), f"{file}: {name}={value!r} must be True or False.")
    return bool(value)


def reading(
    setup: Setup,
    dataset: str | None,
    data_root: str | None,
    thresholds: Thresholds = Thresholds(),
    rules: FileRules = FileRules(),
) -> Setup:
    """The setup on the dataset of that name, or on its own; read from data_root, with thresholds,
    and by those rules for a file, where they are given."""
    setup = replace(setup, thresholds=replace(setup.thresholds, **thresholds.given))
    if dataset is not None:
        return replace(setup, dataset=dataset_named(dataset, data_root, rules))
    if rules != FileRules():
        setup = replace(setup, dataset=by_rules(setup.dataset, rules))
    if data_root is None:
        return setup
    if hasattr(setup.dataset, "data_root"):
        return override(setup, f"dataset.data_root={data_root}")
    if hasattr(setup.dataset, "source"):
        return override(setup, f"dataset.source.data_root={data_root}")
    check_data_root(data_root, getattr(setup.dataset, "path", setup.dataset.name))
    return setup


def _check(runs: tuple[Run, ...], file: Path, is_grid: bool) -> None:
    titles = [run.title if is_grid else run.label for run in runs]
    twice = {title for title in titles if titles.count(title) > 1}
    if twice:
        raise UserError(f"{file}: two runs are called {twice.pop()!r}; give one of them a name=")
    for run in runs:  # refused now, not when its turn comes
        describe(run)
        if isinstance(run.control, TrueRewards) or run.noise.reads_truth:
            world(run.setup.dataset)
    setups: dict[str, Setup] = {}
    for setup in (run.setup for run in runs):
        require(
            (setup.data, setup.pretrained) == (runs[0].setup.data, runs[0].setup.pretrained),
            f"{file}: all runs of one study must share dataset, split, thresholds, repeats, "
            "never_shown, available and pretrained, because its table compares them on the same "
            "targets; put the others into a study of their own",
        )
        require(
            setups.setdefault(setup.label, setup) == setup,
            f"{file}: two setups are called {setup.label!r}; give one of them a name=",
        )
