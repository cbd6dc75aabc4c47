"""Which setting next: TPE as a function of a cell's finished trials and a seed, nothing else.

So a trial that is repeated after a crash gets the setting it had, and a sweep that was interrupted
proposes what an unbroken one would have.
"""

from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from recsys_posttrain.sweep.space import Setting, Space

# Drawn at random before TPE begins; a function of the seed alone.
RANDOM_TRIALS = 5


def distributions(space: Space) -> dict[str, BaseDistribution]:
    return {path: dimension.distribution() for path, dimension in space.items()}


def propose(space: Space, history: Sequence[FrozenTrial], seed: int) -> Setting:
    """history: complete trials count with their values, pruned ones below them with how far they
    came; running ones, by other workers, as bad, so that two workers do not try the same. In a
    fixed order: ties are broken by it."""
    study = optuna.create_study(
        direction="maximize",
        sampler=TPESampler(
            n_startup_trials=RANDOM_TRIALS, multivariate=True, constant_liar=True, seed=seed % 2**32
        ),
    )
    searched = distributions(space)
    for trial in history:
        if trial.params.keys() == searched.keys():
            value = trial.value if trial.state == TrialState.COMPLETE else None
            study.add_trial(
                create_trial(
                    state=trial.state,
                    value=value,
                    params=trial.params,
                    distributions=searched,
                    intermediate_values=trial.intermediate_values,
                )
            )
    return dict(study.ask(searched).params)
