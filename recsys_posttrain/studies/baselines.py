"""The rows that every study has beside its methods, before any method: what needs no training, and
imitation of what was liked."""

from collections.abc import Sequence
from dataclasses import replace

from recsys_posttrain.algorithms import BC, FilteredBC
from recsys_posttrain.rewards.control import TrueRewards
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.rewards.noise.base import is_resampled
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.untrained import (
    BestFixedList,
    ItemMean,
    Popularity,
    Pretrained,
    RewardArgmax,
    Tilt,
    Uniform,
)
from recsys_posttrain.untrained.base import Untrained
from recsys_posttrain.worlds.base import World

TEMPERATURES = (0.03, 0.1, 0.3, 1.0, 3.0)  # of the tilt, in stars


def always(runs: Sequence[Run]) -> list[Run]:
    """Popularity, and the policies that the runs start from."""
    base = _base(runs)
    return [
        replace(base, algorithm=Popularity()),
        *(_of_setup(base, Pretrained(), setup, end) for setup, end in _setups(runs)),
    ]


def baselines(runs: Sequence[Run], is_grid: bool = False) -> list[Run]:
    """What needs no training but the log's rewards or the reward model, and FilteredBC; in a world
    also its bounds. In a grid each has the noises of the runs that can change it, and FilteredBC
    the lengths of BC."""
    base, setups = _base(runs), _setups(runs)
    asking = [_of_setup(base, RewardArgmax(), setup, end) for setup, end in setups]
    asking += [
        replace(_of_setup(base, Tilt(each), setup, end), strength=f"temperature {each:g}")
        for setup, end in setups
        for each in TEMPERATURES
    ]
    found = [replace(base, algorithm=ItemMean()), *asking]
    if isinstance(base.setup.dataset, World):
        true = replace(base, control=TrueRewards())
        found.append(replace(base, algorithm=Uniform()))
        found.append(replace(true, algorithm=BestFixedList()))
        found.append(replace(true, algorithm=RewardArgmax(), name="Oracle"))
    cloned = [run for run in runs if run.algorithm == BC() and run.control is None]
    cloned = [replace(run, algorithm=FilteredBC(), name="") for run in cloned or [base]]
    if not is_grid:
        return found + [run for run in cloned if run.noise == RewardNoise()][:1]
    noises = list(dict.fromkeys(run.noise for run in runs if run.noise != RewardNoise()))
    of_log = [replace(found[0], noise=noise) for noise in noises if noise.log]
    of_model = [
        replace(run, noise=noise)
        for noise in noises
        for run in asking
        if noise.model and not is_resampled(noise.model)
    ]
    return found + cloned + of_log + of_model


def _base(runs: Sequence[Run]) -> Run:
    return replace(runs[0], name="", noise=RewardNoise(), control=None, strength="")


def _setups(runs: Sequence[Run]) -> list[tuple[Setup, str]]:
    """Those of the runs, and what tells them apart in a name."""
    found = {run.setup.label: run.setup for run in runs}
    return [(setup, f" {label}" if len(found) > 1 else "") for label, setup in found.items()]


def _of_setup(base: Run, method: Untrained, setup: Setup, end: str) -> Run:
    name = f"{type(method).__name__}{end}" if end else ""
    return replace(base, algorithm=method, setup=setup, name=name)
