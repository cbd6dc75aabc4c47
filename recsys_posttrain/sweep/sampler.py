"""Which setting a trial has, and whether it is worth finishing.

Both are functions of the trials that are known and of a seed, nothing else. So a trial that is
repeated after a crash gets the setting that it had, and a sweep that was interrupted proposes what
an unbroken one would have. Optuna's own GridSampler does not serve: it shuffles, draws among what
is left where several workers ask, and may give one combination twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from recsys_posttrain.config import require
from recsys_posttrain.sweep.space import OneOf, Setting, Space, distributions

# Drawn at random before TPE begins, and complete before a trial ends early.
RANDOM_TRIALS = 5
# A method whose first steps cost it something is not judged by its first validation.
VALIDATIONS_BEFORE_PRUNING = 1


@dataclass(frozen=True)
class TPE:
    """Optuna's tree-structured Parzen estimator, after RANDOM_TRIALS random trials."""

    def check(self, spaces: Mapping[str, Space]) -> None:
        """Raises UserError where it cannot search the spaces, by method."""
        sizes = {label: len(space) for label, space in spaces.items()}
        require(
            len(set(sizes.values())) == 1 and min(sizes.values()) >= 1,
            "Sweep: all methods must search equally many fields, at least one, and these search "
            + ", ".join(f"{size} ({label})" for label, size in sizes.items())
            + ".",
        )

    def budget(self, space: Space, trials: int) -> int:
        """How many trials a cell has. trials: of the sweep."""
        return trials

    def propose(
        self, space: Space, number: int, history: Sequence[FrozenTrial], seed: int
    ) -> Setting:
        """The setting of a trial. number: among those of its cell, from 0.

        history: complete trials count with their values, pruned ones below them with how far
        they came; running ones, by other workers, as bad, so that two workers do not try the same.
        In a fixed order: ties are broken by it."""
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=RANDOM_TRIALS, multivariate=True, constant_liar=True, seed=seed % 2**32
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        searched = distributions(space)
        for trial in history:
            if trial.params.keys() == searched.keys():
                study.add_trial(
                    create_trial(
                        state=trial.state,
                        value=trial.value if trial.state == TrialState.COMPLETE else None,
                        params=trial.params,
                        distributions=searched,
                        intermediate_values=trial.intermediate_values,
                    )
                )
        return dict(study.ask(searched).params)

    def described(self, spaces: Mapping[str, Space], trials: int) -> str:
        """How settings were proposed, for captions."""
        fields = len(next(iter(spaces.values())))
        return (
            f"{trials} trial{'s' * (trials > 1)} of TPE over {fields} field{'s' * (fields > 1)} "
            "for each method under each noise"
        )


@dataclass(frozen=True)
class Grid:
    """Every combination of the options of a space, each once, the last field first; a method
    without a space has one trial, as it is."""

    def check(self, spaces: Mapping[str, Space]) -> None:
        for label, space in spaces.items():
            for path, dimension in space.items():
                require(
                    isinstance(dimension, OneOf),
                    f"search space of {label}: {path!r} is {dimension}, and a grid has no end of "
                    "values there: give OneOf((...)), or sampler=TPE().",
                )

    def budget(self, space: Space, trials: int) -> int:
        return len(_combinations(space))

    def propose(
        self, space: Space, number: int, history: Sequence[FrozenTrial], seed: int
    ) -> Setting:
        return _combinations(space)[number]

    def described(self, spaces: Mapping[str, Space], trials: int) -> str:
        counts = (f"{label} {self.budget(space, trials)}" for label, space in spaces.items())
        return f"every combination of the searched values ({', '.join(counts)})"


Sampler = TPE | Grid


def _combinations(space: Space) -> list[Setting]:
    labels = [
        dimension.labelled if isinstance(dimension, OneOf) else () for dimension in space.values()
    ]
    return [dict(zip(space, each, strict=True)) for each in product(*labels)]


class Pruned(Exception):
    """A trial that is not worth finishing; the text says why."""


@dataclass(eq=False)
class Pruning:
    """Hears of a trial's validations, one seed after the other, and ends it by raising Pruned.

    name: of the value among what a validation gives; where it is missing nothing is pruned.
    validations: how many a whole trial has. history: what is known of the cell's other trials.
    values: those of this trial so far, by number.
    """

    name: str
    validations: int
    history: Sequence[FrozenTrial]
    is_on: bool = True
    values: dict[int, float] = field(default_factory=dict)

    def __call__(self, metrics: dict[str, float]) -> None:
        value = metrics.get(self.name)
        if not self.is_on or value is None:
            return
        number = len(self.values)
        self.values[number] = value
        # After the last there is nothing left to save.
        if number + 1 < self.validations and is_hopeless(self.values, self.history):
            raise Pruned(
                f"ended after {number + 1} of {self.validations} validations: its best so far, "
                f"{max(self.values.values()):.4g}, is below the median there"
            )


def is_hopeless(values: dict[int, float], history: Sequence[FrozenTrial]) -> bool:
    """Whether the best of the values is below the median of the complete trials' at the number of
    the last one: Optuna's median rule. Never before RANDOM_TRIALS trials are complete."""
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=RANDOM_TRIALS, n_warmup_steps=VALIDATIONS_BEFORE_PRUNING
    )
    study = optuna.create_study(direction="maximize")
    for trial in history:
        if trial.state == TrialState.COMPLETE:
            study.add_trial(
                create_trial(value=trial.value, intermediate_values=trial.intermediate_values)
            )
    running = create_trial(state=TrialState.RUNNING, intermediate_values=values)
    return bool(pruner.prune(study, running))
