"""The rows that every study has beside its methods, before any of them."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from recsys_posttrain.algorithms import BC, FilteredBC
from recsys_posttrain.algorithms.base import reads_rewards
from recsys_posttrain.config import require
from recsys_posttrain.rewards.control import TrueRewards
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.rewards.noise.base import is_resampled
from recsys_posttrain.studies.experiment import explained
from recsys_posttrain.studies.run import Run
from recsys_posttrain.untrained import (
    BestFixedList,
    ItemMean,
    Popularity,
    Pretrained,
    RewardArgmax,
    Tilt,
    Uniform,
)
from recsys_posttrain.worlds.base import World

TEMPERATURES = (0.03, 0.1, 0.3, 1.0, 3.0)  # of the tilt, in stars
METHODS = (ItemMean(), RewardArgmax(), *map(Tilt, TEMPERATURES), FilteredBC())


def baselines(runs: Sequence[Run], methods: Sequence[Any] = METHODS) -> list[Run]:
    """Popularity, the policies that the runs start from, these methods, and in a world its bounds.

    What reads a setup's models has a row for each setup. Of one class given several times each is a
    strength of it. Where the runs have noise, so have the methods that it can change; what is
    trained has the steps, strengths and noises of BC, where that is among the runs.
    """
    base = replace(runs[0], name="", noise=RewardNoise(), control=None, strength="")
    setups = {run.setup.label: run.setup for run in runs}
    found = [replace(base, algorithm=Popularity())]
    for method in (Pretrained(), *methods):
        run = replace(base, algorithm=method)
        kind = type(method).__name__
        if [type(each).__name__ for each in methods].count(kind) > 1:
            values = (f"{field.name} {getattr(method, field.name):g}" for field in fields(method))
            run = replace(run, strength=", ".join(values))
        if run.is_trained:
            # With both logs it is a method of its own.
            plain = (run for run in runs if run.control is None and not run.with_reward_log)
            cloned = [each for each in plain if each.algorithm == BC()] or [base]
            found += [replace(each, algorithm=method, name="") for each in cloned]
        elif getattr(method, "reads_log", False) or len(setups) == 1:
            found.append(run)
        else:
            of_setups = (replace(run, name=f"{kind} {each}", setup=setups[each]) for each in setups)
            found += of_setups
    noises = dict.fromkeys(run.noise for run in runs if run.noise != RewardNoise())
    found += [
        replace(run, noise=noise) for noise in noises for run in found if _is_changed(run, noise)
    ]
    if methods and isinstance(base.setup.dataset, World):
        true = replace(base, control=TrueRewards())
        found.append(replace(base, algorithm=Uniform()))
        found.append(replace(true, algorithm=BestFixedList()))
        found.append(replace(true, algorithm=RewardArgmax(), name="Oracle"))
    return found


def alone(found: Sequence[Run]) -> list[Run]:
    """For a table of one row per method: without noise, and one run of each that is trained."""
    clean = [run for run in found if run.noise == RewardNoise()]
    trained = {run.label: run for run in reversed(clean) if run.is_trained}
    return [run for run in clean if not run.is_trained or run is trained[run.label]]


def _is_changed(run: Run, noise: RewardNoise) -> bool:
    """Whether the noise can change the method, and is one for a method without steps."""
    if run.is_trained or not reads_rewards(run.algorithm):
        return False
    if getattr(run.algorithm, "reads_log", False):
        return noise.log is not None
    return noise.of_model() != RewardNoise() and not is_resampled(noise.model)


def baselines_of(
    experiment: ModuleType, file: Path, runs: Sequence[Run], is_grid: bool
) -> tuple[Run, ...]:
    """Those of the experiment file, without labels that its runs have."""
    methods = getattr(experiment, "BASELINES", METHODS)
    require(isinstance(methods, list | tuple), f"{file}: BASELINES={methods!r} must be a list.")
    with explained(file):
        found = baselines(runs, methods)
    labels = {run.label for run in runs}
    found = [run for run in found if run.label not in labels]
    return tuple(found if is_grid else alone(found))
