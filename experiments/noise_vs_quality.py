"""The study: reward-model quality against true policy quality, by algorithm.

    make study
    recsys-posttrain run experiments/noise_vs_quality.py [--dataset jester] [--seeds 5]

Every method at three strengths and more, under every kind of noise at three or four levels, in the
reward model, apart from that in the logged rewards, and in a log from which the reward model learns
too; in worlds also with reward models that are mixed with the truth. The log's own quality is a
second axis: `--set dataset.preference=2`, say, is a study of its own. Each seed draws noise of its
own. Users of policy, reward model, judge, validation and test are disjoint. A policy is worth the
mean true reward of its five best unseen items where the truth is known, otherwise what the judge
says of five greedy steps, with ranking metrics beside it. Which strength stands for a method is
decided by NDCG@10 of liked validation targets, means over seeds; never by the truth; selection.md
has what other rules would get. Doing nothing is a candidate too. All methods begin with three
strengths; where the best one lies at the edge, the next one is tried, up to two on each side. Under
two kinds of noise this is done at each level anew; under the others the strength chosen without
noise is tried.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from recsys_posttrain.algorithms import ASFT, BC, DPO, RWR, ExpRSFT, OfflinePPO
from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.algorithms.signals import model_reward, reference_value
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.data.user_holdout import UserHoldout
from recsys_posttrain.models import SASRec
from recsys_posttrain.rewards.control import (
    ConstantRewards,
    RewardControl,
    ShuffledRewards,
    TrueRewards,
)
from recsys_posttrain.rewards.noise import (
    Flips,
    Gaussian,
    Independent,
    ItemBias,
    PopularityBias,
    RareOptimism,
    RewardNoise,
    Starvation,
    TruthShare,
    UserBias,
)
from recsys_posttrain.rewards.noise.base import ErrorNoise
from recsys_posttrain.rewards.noise.correlated import CORRELATIONS
from recsys_posttrain.studies.choose import NOTHING, chosen, extended
from recsys_posttrain.studies.controls import ONLINE_RL
from recsys_posttrain.studies.rules import OWN, WORDS
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.posttrain import POSTTRAINING
from recsys_posttrain.worlds.base import World
from recsys_posttrain.worlds.jester import Jester

Kind = Callable[[float], ErrorNoise | Flips | Starvation | TruthShare]


def base_of(dataset: Dataset) -> Run:
    """What all runs on a dataset share. Jester has 100 items, so its models are small, and they
    read the rewards of the history: a joke that was liked says more there than one that was shown.
    Elsewhere the policy is half as wide as by default and reads half as far, because there are a
    thousand of them to train.
    """
    setup = Setup(dataset=dataset, split=UserHoldout(seed=1))
    if isinstance(dataset, World):
        setup = replace(setup, judge_errors=CORRELATIONS)
    if dataset.name != "jester":
        backbone = SASRec(dim=32, feed_forward=128, max_length=100)
        return Run(BC(), replace(setup, backbone=backbone))
    small = SASRec(dim=32, feed_forward=64, history_rewards=True)
    setup = replace(
        setup,
        split=UserHoldout(train=0.4, reward=0.3, judge=0.1, validation=0.05, test=0.15, seed=1),
        backbone=small,
    )
    plan = replace(POSTTRAINING, steps=200, batch_size=16, learning_rate=1e-3)
    return Run(BC(), setup, posttraining=plan)


@dataclass(frozen=True)
class Method:
    """One line of the figure. strengths: the same algorithm, the weakest first; each is a trial, at
    first three of them (`next_runs`). steps: the share of the post-training steps that a strength
    takes, where it is not all of them.

    asks_model: whether errors of the reward model can change it. Logged rewards change all, because
    policies read those of the history. control: what it is given in place of the rewards.
    with_reward_log: as of a Run.
    """

    name: str
    strengths: Mapping[str, Algorithm] = field(hash=False)
    asks_model: bool = False
    control: RewardControl | None = None
    steps: Mapping[str, float] = field(default_factory=dict, hash=False)
    with_reward_log: bool = False

    def runs(self, base: Run, noise: RewardNoise = RewardNoise()) -> Iterator[Run]:
        for strength, algorithm in self.strengths.items():
            plan = base.posttraining
            if strength in self.steps:
                assert plan.steps is not None
                plan = replace(plan, steps=max(1, round(self.steps[strength] * plan.steps)))
            yield Run(
                algorithm,
                base.setup,
                self.name,
                plan,
                noise,
                self.control,
                strength=strength,
                with_reward_log=self.with_reward_log,
            )


def ladder(
    name: str,
    word: str,
    values: Sequence[float],
    at: Callable[[float], Algorithm],
    asks_model: bool = True,
) -> Method:
    """A method whose strengths are the values of one of its settings, the weakest first."""
    return Method(name, {f"{word} {value:g}": at(value) for value in values}, asks_model)


# As many trials as the others: imitation has no strength but how long it goes on.
LENGTHS = {
    "a sixteenth of the steps": 1 / 16,
    "an eighth of the steps": 1 / 8,
    "a quarter of the steps": 1 / 4,
    "half of the steps": 1 / 2,
    "all steps": 1.0,
}


def of_length(name: str, algorithm: Algorithm, **given: Any) -> Method:
    """A method without a strength of its own. given: further fields."""
    return Method(name, dict.fromkeys(LENGTHS, algorithm), steps=LENGTHS, **given)


TEMPERATURES = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125)
OF_MODEL = tuple(t / 2 for t in TEMPERATURES)
KLS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
BETAS = (32.0, 8.0, 2.0, 0.5, 0.1, 0.025, 0.006)
FIRST = slice(2, 5)  # of each row above

METHODS = (
    of_length("BC", BC()),
    of_length("RWR", RWR()),
    ladder(
        "ExpRSFT", "temperature", TEMPERATURES, lambda t: ExpRSFT(temperature=t), asks_model=False
    ),
    ladder("ASFT", "temperature", TEMPERATURES, lambda t: ASFT(temperature=t)),
    ladder(
        "ASFT(model)",
        "temperature",
        OF_MODEL,
        lambda t: ASFT(model_reward, reference_value, temperature=t),
    ),
    ladder("OfflinePPO", "KL", KLS, lambda c: OfflinePPO(kl_coefficient=c)),
    ladder("DPO", "beta", BETAS, lambda b: DPO(beta=b)),
)

# Run without noise only, with the weakest regularisation, so that what rewards do has room to show.
# BC as well: where a policy reads the rewards of its history, they change what it learns.
FREE_ASFT, FREE_PPO = ASFT(temperature=0.5), OfflinePPO(kl_coefficient=0.03)
CONTROLS = tuple(
    method
    for given, control in (
        ("shuffled reward", ShuffledRewards()),
        ("constant reward", ConstantRewards()),
    )
    for method in (
        of_length(f"BC, {given}", BC(), control=control),
        Method(f"ASFT, {given}", {"": FREE_ASFT}, control=control),
        Method(f"OfflinePPO, {given}", {"": FREE_PPO}, control=control),
    )
)
# The reward model has learned from the log of its users; imitation may learn from it too.
BOTH_LOGS = of_length("BC, both logs", BC(), with_reward_log=True)
BOUNDS = (
    Method("OfflinePPO, true reward", {"": FREE_PPO}, control=TrueRewards()),
    Method("OnlineRL", {"": ONLINE_RL}, control=TrueRewards()),
)

# In reward units; of Flips the probability, of Starvation the share of users that is left out.
ERRORS = (0.3, 0.6, 1.2, 2.4)
FLIPS = (0.1, 0.2, 0.4, 0.8)
MODEL_NOISE: dict[Kind, tuple[float, ...]] = {
    ItemBias: ERRORS,
    Gaussian: ERRORS,
    Independent: ERRORS,
    PopularityBias: ERRORS,
    RareOptimism: ERRORS,
    UserBias: ERRORS,
    Flips: FLIPS,
    Starvation: (0.7, 0.9, 0.97, 0.99),
}
LOG_NOISE: dict[Kind, tuple[float, ...]] = {ItemBias: ERRORS, Flips: FLIPS}
# The case of a service: the reward model learns from the noisy log. And what more quality is worth,
# where there is a truth to mix in.
SHARED_NOISE = LOG_NOISE
BETTER: dict[Kind, tuple[float, ...]] = {TruthShare: (0.25, 0.5, 0.75)}
# Under these in the reward model every strength is run; elsewhere the one chosen without noise.
SWEPT = (ItemBias, Independent)


def grid(
    base: Run,
    methods: Sequence[Method] = METHODS,
    others: Sequence[Method] = CONTROLS,
    model_noise: Mapping[Kind, Sequence[float]] = MODEL_NOISE,
    log_noise: Mapping[Kind, Sequence[float]] = LOG_NOISE,
    shared_noise: Mapping[Kind, Sequence[float]] = SHARED_NOISE,
) -> list[Run]:
    """All methods without noise; under each noise those that it can change."""
    runs = [run for method in (*methods, *others) for run in method.runs(base)]
    for place, kinds in (("model", model_noise), ("log", log_noise), ("shared", shared_noise)):
        changed = [each for each in methods if each.asks_model or place != "model"]
        part, options = ("log", {"shared": True}) if place == "shared" else (place, {})
        for kind, levels in kinds.items():
            for level in levels:
                noise = RewardNoise(**{part: kind(level)}, **options)  # type: ignore[arg-type]
                runs += [run for method in changed for run in method.runs(base, noise)]
    return runs


def runs_on(dataset: Dataset = Jester()) -> list[Run]:
    is_world = isinstance(dataset, World)
    others = (BOTH_LOGS, *CONTROLS, *(BOUNDS if is_world else ()))
    of_model = MODEL_NOISE | (BETTER if is_world else {})
    return grid(base_of(dataset), others=others, model_noise=of_model)


def next_runs(
    runs: Sequence[Run],
    tried: Sequence[Run],
    validation: pd.DataFrame,
    rule: str = OWN,
    kinds: tuple[type, ...] = SWEPT,
) -> Sequence[Run]:
    """Without noise until no strength lies at the edge; then under noise, likewise for `kinds`."""
    ladders: dict[str, list[str]] = {}
    for run in runs:
        if run.strength not in (ladder := ladders.setdefault(run.label, [])):
            ladder.append(run.strength)

    def is_first(run: Run) -> bool:
        ladder = ladders[run.label]
        return not run.is_trained or len(ladder) == 1 or run.strength in ladder[FIRST]

    clean = [run for run in runs if run.noise == RewardNoise()]
    if more := extended(clean, tried, validation, is_first, rule):
        return more
    without = validation[(validation["place"] == "") & (validation["strength"] != NOTHING)]
    found = set(without[["method", "strength"]].itertuples(index=False, name=None))
    best = dict(chosen(without, rule)[["method", "strength"]].itertuples(index=False, name=None))
    noisy = [run for run in runs if run.noise != RewardNoise()]
    swept = [run for run in noisy if isinstance(run.noise.model, kinds)]
    others = [run for run in noisy if not isinstance(run.noise.model, kinds)]
    others = [run for run in others if run.strength == best.get(run.label)]
    more = extended(swept, tried, validation, lambda run: (run.label, run.strength) in found, rule)
    return [*more, *others]


RUNS = runs_on
NEXT_RUNS = next_runs
REDRAWS_NOISE = True
SEEDS = (0, 1, 2, 3, 4)
TRIALS = (
    "three strengths of each method that has one and, where the best lies at the edge, up to two "
    "more on that side, by {}, means over seeds; doing nothing is a candidate"
)
TUNING = (
    TRIALS.format(WORDS[OWN])
    + "; under noises without several strengths the one chosen without noise"
)
