"""Whether a trial is worth finishing: Optuna's median rule over its validations.

A function of the cell's complete trials and of the trial's own values, nothing else, so that an
interrupted sweep ends the trials that an unbroken one ends.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.pruners import MedianPruner
from optuna.trial import FrozenTrial, TrialState, create_trial

from recsys_posttrain.evaluation.subsets import all_targets
from recsys_posttrain.sweep.definition import Sweep
from recsys_posttrain.sweep.proposal import RANDOM_TRIALS
from recsys_posttrain.training.posttrain import VALIDATIONS

# A method whose first steps cost it something is not judged by its first validation.
VALIDATIONS_BEFORE_PRUNING = 1


class Pruned(Exception):
    """A trial that is not worth finishing; the text says why."""


@dataclass(eq=False)
class Pruning:
    """Hears of a trial's validations, one seed after the other, and ends it by raising Pruned.

    history: what is known of the cell's other trials. keep: called with number and value of each
    validation, in the order of the trial.
    """

    sweep: Sweep
    history: Sequence[FrozenTrial]
    keep: Callable[[int, float], None]
    _values: dict[int, float] = field(default_factory=dict)

    def __call__(self, metrics: dict[str, float]) -> None:
        value = metrics.get(validated_name(self.sweep))
        if not self.sweep.pruning or value is None:
            return
        number = len(self._values)
        self._values[number] = value
        self.keep(number, value)
        validations = VALIDATIONS * len(self.sweep.tuning_seeds)
        # After the last there is nothing left to save.
        if number + 1 < validations and is_hopeless(self._values, self.history):
            raise Pruned(
                f"ended after {number + 1} of {validations} validations: its best so far, "
                f"{max(self._values.values()):.4g}, is below the median there"
            )


def validated_name(sweep: Sweep) -> str:
    """Of the sweep's metric in what validations give; where they lack it nothing is pruned."""
    subset = "" if sweep.over is all_targets else f" {sweep.over.__name__}"
    return f"validation/{sweep.metric}{subset}"


def is_hopeless(values: dict[int, float], history: Sequence[FrozenTrial]) -> bool:
    """Whether the best of the values is below the median of the complete trials' at the number of
    the last one. Never before RANDOM_TRIALS trials are complete."""
    pruner = MedianPruner(n_startup_trials=RANDOM_TRIALS, n_warmup_steps=VALIDATIONS_BEFORE_PRUNING)
    study = optuna.create_study(direction="maximize")
    for trial in history:
        if trial.state == TrialState.COMPLETE:
            study.add_trial(
                create_trial(value=trial.value, intermediate_values=trial.intermediate_values)
            )
    running = create_trial(state=TrialState.RUNNING, intermediate_values=values)
    return bool(pruner.prune(study, running))
