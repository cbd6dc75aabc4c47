"""Every method of the field without noise, at three strengths and more, and with shuffled rewards.

    recsys-posttrain run experiments/whole_field.py --dataset jester [--seeds 5]

The clean cells of DESIGN.md: setup, lengths, seeds and strengths are those of noise_vs_quality.py,
whose methods these join. A judge, a reward model of other users, chooses each strength on
validation targets: NDCG@10 of liked ones, which selection.md has beside it, left nearly every
method as it was. With shuffled rewards each method has the weakest regularisation of its first
strengths: what it gains there it does not owe to the rewards.
"""

from dataclasses import replace
from functools import partial

from noise_vs_quality import (
    BETAS,
    BOTH_LOGS,
    BOUNDS,
    CONTROLS,
    FIRST,
    KLS,
    METHODS,
    OF_MODEL,
    REDRAWS_NOISE,
    SEEDS,
    TRIALS,
    Method,
    base_of,
    grid,
    ladder,
    next_runs,
    of_length,
)

from recsys_posttrain.algorithms import (
    AWAC,
    CQL,
    CRR,
    DPO,
    GRPO,
    IPO,
    IQL,
    KTO,
    SA2C,
    SDPO,
    SNQN,
    WBC,
    AdaGRPO,
    FilteredBC,
    Pessimistic,
    ReturnConditioned,
    RobustDPO,
    TopKREINFORCE,
)
from recsys_posttrain.config import require
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.rewards.control import ShuffledRewards
from recsys_posttrain.studies.rules import JUDGE, WORDS
from recsys_posttrain.studies.run import Run
from recsys_posttrain.worlds.base import World
from recsys_posttrain.worlds.jester import Jester

SLOPES = (16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25)
ALPHAS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
COEFFICIENTS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
CAPS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

FIELD = (
    *METHODS,
    # Its row among the baselines has the whole length; here validation chooses it.
    of_length("FilteredBC, length chosen", FilteredBC()),
    of_length("WBC", WBC()),
    ladder("IPO", "beta", SLOPES, lambda beta: IPO(beta)),
    ladder("RobustDPO", "beta", BETAS, lambda beta: RobustDPO(beta)),
    ladder("RobustDPO(unbiased)", "beta", BETAS, lambda beta: RobustDPO(beta, unbiased=True)),
    ladder("SDPO", "beta", BETAS, lambda beta: SDPO(beta)),
    ladder("Pessimistic(DPO)", "beta", BETAS, lambda beta: Pessimistic(DPO(beta))),
    ladder("KTO", "beta", SLOPES, lambda beta: KTO(beta), asks_model=False),
    ladder("GRPO", "KL", KLS, lambda c: GRPO(kl_coefficient=c)),
    ladder("GRPO(Dr)", "KL", KLS, lambda c: GRPO(scale_rewards=False, kl_coefficient=c)),
    ladder("AdaGRPO", "KL", KLS, lambda c: AdaGRPO(group=GRPO(kl_coefficient=c))),
    ladder("SNQN", "coefficient", COEFFICIENTS, lambda c: SNQN(coefficient=c), asks_model=False),
    ladder("SA2C", "coefficient", COEFFICIENTS, lambda c: SA2C(coefficient=c), asks_model=False),
    of_length("ReturnConditioned", ReturnConditioned()),
    ladder("TopKREINFORCE", "cap", CAPS, lambda cap: TopKREINFORCE(weight_cap=cap)),
    ladder("CQL", "alpha", ALPHAS, lambda alpha: CQL(alpha, 0.2), asks_model=False),
    ladder("IQL", "temperature", OF_MODEL, lambda t: IQL(temperature=t)),
    ladder("AWAC", "temperature", OF_MODEL, lambda t: AWAC(temperature=t)),
    ladder("CRR", "temperature", OF_MODEL, lambda t: CRR(temperature=t)),
)


def shuffled(method: Method) -> Method:
    """The method at the last of its first strengths, with uninformative rewards."""
    strength = list(method.strengths)[FIRST][-1]
    steps = {"": method.steps[strength]} if method.steps else {}
    return replace(
        method,
        name=f"{method.name}, shuffled reward",
        strengths={"": method.strengths[strength]},
        control=ShuffledRewards(),
        steps=steps,
    )


def runs_on(dataset: Dataset = Jester()) -> list[Run]:
    require(
        isinstance(dataset, World),
        f"whole_field.py is for worlds, and {dataset.name} is none: its judge chooses strengths, "
        "so something else must say what a policy is worth; run movielens_main.py.",
    )
    has_own = {method.name for method in CONTROLS}
    controls = [each for each in map(shuffled, FIELD[1:]) if each.name not in has_own]
    others = (BOTH_LOGS, *CONTROLS, *controls, *BOUNDS)
    return grid(base_of(dataset), FIELD, others, {}, {}, {})


RUNS = runs_on
CHOSEN_BY = JUDGE
NEXT_RUNS = partial(next_runs, rule=CHOSEN_BY)
TUNING = TRIALS.format(WORDS[CHOSEN_BY])
__all__ = ["CHOSEN_BY", "NEXT_RUNS", "REDRAWS_NOISE", "RUNS", "SEEDS", "TUNING"]
