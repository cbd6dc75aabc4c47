"""The SWEEP of an experiment file, changed as the command line asks."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from recsys_posttrain.config import digest, require
from recsys_posttrain.data.table_file import FileRules
from recsys_posttrain.errors import UserError
from recsys_posttrain.named import written
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.studies.engine import Engine, Processes
from recsys_posttrain.studies.experiment import experiment_module
from recsys_posttrain.studies.folder import definition
from recsys_posttrain.studies.load import reading
from recsys_posttrain.studies.overridden import overridden
from recsys_posttrain.studies.own_files import OwnFiles
from recsys_posttrain.sweep.definition import Sweep
from recsys_posttrain.sweep.sampler import Grid

REPEATS = "repeats="


class Options(NamedTuple):
    """What the command line gave; None: what the file says.

    trials: per cell. workers: of the engine; None: this process, or as many as Ray has room for.
    seeds: how many, from 0. storage: None is a file in the sweep's folder. changes: of fields of
    the setup, as `--set` has them. own: a reward model and a policy.
    """

    dataset: str | None = None
    trials: int | None = None
    seeds: int | None = None
    workers: int | None = None
    storage: str | None = None
    accepts_changes: bool = False
    device: str = "cpu"
    data_root: str | None = None
    output: Path = Path("runs")
    thresholds: Thresholds = Thresholds()
    rules: FileRules = FileRules()
    changes: tuple[str, ...] = ()
    own: OwnFiles = OwnFiles()
    engine: Engine = Processes()

    @property
    def told_apart(self) -> list[str]:
        """What its folder is told apart by, beside repeats."""
        changes = [each for each in self.changes if not each.startswith(REPEATS)]
        return sorted([*changes, *self.own.options])

    def sweep(self, file: Path) -> Sweep:
        sweep = getattr(experiment_module(file), "SWEEP", None)
        if not isinstance(sweep, Sweep):
            raise UserError(
                f"{file} defines no SWEEP: give it SWEEP = Sweep(base=..., methods=(...)), see "
                "experiments/sweep_noise.py"
            )
        require(
            self.trials is None or not isinstance(sweep.sampler, Grid),
            f"--trials {self.trials}: {file} tries every combination of its values once; leave "
            "--trials out.",
        )
        setup = sweep.base.setup
        setup = reading(setup, self.dataset, self.data_root, self.thresholds, self.rules)
        base = self.own.changed([replace(sweep.base, setup=setup)])
        return replace(
            sweep,
            base=overridden(tuple(base), self.changes)[0],
            trials=sweep.trials if self.trials is None else self.trials,
            seeds=sweep.seeds if self.seeds is None else tuple(range(self.seeds)),
        )

    def command(self, file: Path) -> str:
        """The command line again, without the storage, which may hold a password."""
        changed = [each.split("=", 1) for each in self.changes]
        given = {
            "dataset": self.dataset,
            "trials": self.trials,
            "seeds": self.seeds,
            "data-root": self.data_root,
            **{name.replace("_", "-"): value for name, value in changed},
            **self.rules.given,
            "device": self.device if self.device != "cpu" else None,
            "output": self.output if self.output != Path("runs") else None,
        }
        words = [w for name, v in given.items() if v is not None for w in (f"--{name}", str(v))]
        words += [*self.own.options, *self.thresholds.options]
        return shlex.join(["recsys-posttrain", "sweep", written(file), *words])


def definition_of(file: Path, sweep: Sweep, options: Options) -> dict[str, str]:
    """What the folder's results are of (studies/folder.py)."""
    chosen = " ".join([*options.thresholds.options, *options.told_apart])
    return definition(file, sweep.base.setup.dataset, kind="sweep", set=chosen)


def name_of(file: Path, sweep: Sweep, options: Options = Options()) -> str:
    """Of its folder, and of all that it keeps in a storage."""
    setup = sweep.base.setup
    rule = f"-repeats-{setup.repeats}" if setup.repeats else ""
    more = f"-{digest(options.told_apart, 6)}" if options.told_apart else ""
    return f"{file.stem}-{setup.dataset.name}{rule}{more}"
