"""The SWEEP of an experiment file, changed as asked."""

from dataclasses import replace
from pathlib import Path

from recsys_posttrain.data.table_file import Duplicates
from recsys_posttrain.errors import UserError
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.studies.experiment import experiment_module
from recsys_posttrain.studies.load import reading
from recsys_posttrain.sweep.definition import Sweep
from recsys_posttrain.types import Repeats


def load_sweep(
    file: Path,
    dataset: str | None = None,
    data_root: str | None = None,
    trials: int | None = None,
    seeds: int | None = None,
    repeats: Repeats | None = None,
    thresholds: Thresholds = Thresholds(),
    duplicates: Duplicates | None = None,
) -> Sweep:
    """trials: per cell. seeds: how many, from 0."""
    sweep = getattr(experiment_module(file), "SWEEP", None)
    if not isinstance(sweep, Sweep):
        raise UserError(
            f"{file} defines no SWEEP: give it SWEEP = Sweep(base=..., methods=(...)), see "
            "experiments/sweep_noise.py"
        )
    setup = reading(sweep.base.setup, dataset, data_root, thresholds, duplicates)
    if repeats:
        setup = replace(setup, repeats=repeats)
    return replace(
        sweep,
        base=replace(sweep.base, setup=setup),
        trials=sweep.trials if trials is None else trials,
        seeds=sweep.seeds if seeds is None else tuple(range(seeds)),
    )


def name_of(file: Path, sweep: Sweep) -> str:
    """Of its folder, and of all that it keeps in a storage."""
    setup = sweep.base.setup
    rule = f"-repeats-{setup.repeats}" if setup.repeats else ""
    return f"{file.stem}-{setup.dataset.name}{rule}"
