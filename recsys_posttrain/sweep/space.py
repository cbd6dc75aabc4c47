"""A search space: which fields of a run are searched, and between which values.

    {"algorithm.temperature": Between(0.25, 4.0, log=True),
     "posttraining.learning_rate": Between(1e-4, 1e-3, log=True)}

A setting is a dictionary of the same paths; of a choice it holds the option's label.
"""

import dataclasses
import inspect
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
# What all methods have in common, so that none trains longer or stops by another rule.
COMMON = ("steps", "epochs", "patience", "validation_steps", "batch_size", "tokens", "snapshots")


@dataclass(frozen=True)
class Between:
    """A number from low to high, evenly; log: evenly in its logarithm."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        require(self.low < self.high, f"{self}: low must be below high.")
        require(self.low > 0 or not self.log, f"{self}: with log=True low must be above 0.")

    def distribution(self) -> BaseDistribution:
        return FloatDistribution(self.low, self.high, log=self.log)

    def value(self, set_to: float | str) -> float:
        return float(set_to)


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

    def value(self, set_to: float | str) -> Any:
        return self.labelled[str(set_to)]


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
        require(
            is_alone or above != ["posttraining"] or name not in COMMON,
            f"{where} cannot be searched, because all methods have the same length and the same "
            "early stopping: set it in the base of the sweep.",
        )
        require(
            isinstance(dimension, OneOf) or isinstance(value, float),
            f"{where} is {_label(value)}, not a float: search it with OneOf((...)).",
        )


def with_setting(run: Run, space: Space, setting: Setting) -> Run:
    """The run with the searched fields set. Raises: UserError where its parts refuse a value."""
    for path, set_to in setting.items():
        run = _replaced(run, path.split("."), space[path].value(set_to))
    return run


def _replaced(owner: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    new = _replaced(getattr(owner, name), rest, value) if rest else value
    return dataclasses.replace(owner, **{name: new})


def _fields(value: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(value) if field.init}


def described(setting: Setting) -> str:
    """temperature=0.43, learning_rate=0.0003: for lines and captions."""
    return ", ".join(
        f"{path.rpartition('.')[2]}={value if isinstance(value, str) else format(value, '.3g')}"
        for path, value in setting.items()
    )
