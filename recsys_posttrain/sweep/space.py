"""A search space: which fields of a run are searched, and between which values.

    {"algorithm.temperature": Between(0.25, 4.0, log=True),
     "posttraining.learning_rate": Between(1e-4, 1e-3, log=True),
     "posttraining.steps": Between(0.125, 1.0, log=True, share=True)}

A setting is a dictionary of the same paths; of a choice it holds the option's label.
"""

import dataclasses
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from recsys_posttrain.config import require
from recsys_posttrain.errors import did_you_mean
from recsys_posttrain.override import suggestion
from recsys_posttrain.studies.run import Run

Setting = dict[str, float | str]
SEARCHED = ("algorithm", "posttraining")
EDGE = 0.05  # of a range, at each of its ends
# What all methods have in common, so that none stops by another rule, or trains longer than a cap.
COMMON = ("steps", "epochs", "patience", "validation_steps", "batch_size", "tokens", "snapshots")


@dataclass(frozen=True)
class Between:
    """A number from low to high, evenly; log: evenly in its logarithm. share: of what the sweep's
    base has there, which is the most that any method may have."""

    low: float
    high: float
    log: bool = False
    share: bool = False

    def __post_init__(self) -> None:
        require(self.low < self.high, f"{self}: low must be below high.")
        require(self.low > 0 or not self.log, f"{self}: with log=True low must be above 0.")
        require(
            (self.low > 0 and self.high <= 1) or not self.share,
            f"{self}: a share is above 0 and at most 1.",
        )

    def distribution(self) -> BaseDistribution:
        return FloatDistribution(self.low, self.high, log=self.log)

    def value(self, set_to: float | str, base: Any) -> float | int:
        part = float(set_to) * (base if self.share else 1)
        return max(1, round(part)) if isinstance(base, int) else float(part)

    def is_edge(self, set_to: float | str) -> bool:
        low, value, high = self.low, float(set_to), self.high
        if self.log:
            low, value, high = math.log(low), math.log(value), math.log(high)
        return not EDGE < (value - low) / (high - low) < 1 - EDGE


@dataclass(frozen=True)
class OneOf:
    """One of some values of a field: whole numbers, words, signals, None."""

    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        labels = self.labelled
        require(
            len(self.options) == len(labels) >= 2,
            f"OneOf({', '.join(map(_label, self.options))}): give at least 2 options that differ.",
        )

    @property
    def labelled(self) -> dict[str, Any]:
        return {_label(option): option for option in self.options}

    def distribution(self) -> BaseDistribution:
        return CategoricalDistribution(list(self.labelled))

    def value(self, set_to: float | str, base: Any) -> Any:
        return self.labelled[str(set_to)]

    def is_edge(self, set_to: float | str) -> bool:
        """Of numbers: whether it is the lowest or the highest."""
        value = self.labelled[str(set_to)]
        numbers = [each for each in self.options if isinstance(each, int | float)]
        return value in numbers and value in (min(numbers), max(numbers))


Space = Mapping[str, Between | OneOf]


def _label(option: Any) -> str:
    return option.__name__ if inspect.isfunction(option) else str(option)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    return {path: dimension.distribution() for path, dimension in space.items()}


def check_space(run: Run, space: Space, is_alone: bool = False) -> None:
    """UserError for a path that is no field of the run, that is common to all methods (where there
    are others), or that holds no number where one is searched."""
    for path, dimension in space.items():
        *above, name = path.split(".")
        where = f"search space of {run.label}: {path!r}"
        fix = f"{where} cannot be searched: give a field of {' or of '.join(SEARCHED)}."
        hint = suggestion([run], path)
        value: Any = run
        for part in [*above, name]:
            is_there = dataclasses.is_dataclass(value) and part in _fields(value)
            # A field of its setup goes by the same name as one of the run.
            is_of_setup = hint == did_you_mean(path)
            require(is_there, fix if is_of_setup else f"{where} is not a field of the run{hint}.")
            value = getattr(value, part)
        require(above and above[0] in SEARCHED, fix)
        is_share = isinstance(dimension, Between) and dimension.share
        require(
            is_alone or above != ["posttraining"] or name not in COMMON or is_share,
            f"{where} cannot be searched, because all methods have the same cap and the same early "
            "stopping: set it in the base of the sweep, or search a share: Between(share=True).",
        )
        require(
            isinstance(dimension, OneOf)
            or isinstance(value, float)
            or (is_share and isinstance(value, int)),
            f"{where} is {_label(value)}, not a {'number' if is_share else 'float'}: "
            + ("set it in the base." if is_share else "search it with OneOf((...))."),
        )


def with_setting(run: Run, space: Space, setting: Setting) -> Run:
    """The run with the searched fields set. Raises: UserError where its parts refuse a value."""
    for path, set_to in setting.items():
        run = _replaced(run, path.split("."), space[path], set_to)
    return run


def edges(space: Space, setting: Setting) -> list[str]:
    """The searched fields whose value lies at an end of what was searched."""
    return [path.rpartition(".")[2] for path, at in setting.items() if space[path].is_edge(at)]


def _replaced(owner: Any, path: list[str], dimension: Between | OneOf, set_to: Any) -> Any:
    name, *rest = path
    old = getattr(owner, name)
    new = _replaced(old, rest, dimension, set_to) if rest else dimension.value(set_to, old)
    return dataclasses.replace(owner, **{name: new})


def _fields(value: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(value) if field.init}


def described(setting: Setting) -> str:
    """temperature=0.43, learning_rate=0.0003: for lines and captions."""
    return ", ".join(
        f"{path.rpartition('.')[2]}={value if isinstance(value, str) else format(value, '.3g')}"
        for path, value in setting.items()
    )
