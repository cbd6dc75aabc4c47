"""Which setting a trial has: a function of the trials that are known and of a seed, nothing else.

So a trial that is repeated after a crash gets the setting that it had, and a sweep that was
interrupted proposes what an unbroken one would have. Optuna's own GridSampler does not serve: it
shuffles, draws among what is left where several workers ask, and may give one combination twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from recsys_posttrain.config import require
from recsys_posttrain.sweep.space import OneOf, Setting, Space, distributions

RANDOM_TRIALS = 5  # before TPE begins


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

        history: complete trials count with their values; running ones, by other workers, as bad, so
        that two workers do not try the same.
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
