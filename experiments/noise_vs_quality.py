"""The study: reward-model quality against true policy quality, by algorithm.

    make study
    recsys-posttrain run experiments/noise_vs_quality.py [--dataset jester] [--seeds 5]

Every method at three strengths, under every kind of noise at four levels, in the reward model and,
apart from that, in the logged rewards; each seed draws noise of its own. Users of policy, reward
model, judge, validation and test are disjoint. A policy is worth the mean true reward of its five
best unseen items where the truth is known, otherwise what the judge says of five greedy steps, with
ranking metrics beside it. Which strength stands for a method is decided by NDCG@10 of liked
validation targets, means over seeds, three trials for all that have a strength; never by the truth.
Under two kinds of noise it is decided at each level anew; under the others the strength chosen
without noise stays.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from recsys_posttrain.algorithms import ASFT, BC, DPO, RWR, ExpRSFT, OfflinePPO
from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.algorithms.signals import model_reward, reference_value
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.data.user_holdout import UserHoldout
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
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
    UserBias,
)
from recsys_posttrain.rewards.noise.base import ErrorNoise
from recsys_posttrain.studies.controls import ONLINE_RL
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.select import chosen
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.training.posttrain import POSTTRAINING
from recsys_posttrain.worlds.base import World
from recsys_posttrain.worlds.jester import Jester

Kind = Callable[[float], ErrorNoise | Flips | Starvation]


def base_of(dataset: Dataset) -> Run:
    """What all runs on a dataset share. Jester has 100 items, so its models are small, and they
    read the rewards of the history: a joke that was liked says more there than one that was shown.
    Elsewhere the policy is half as wide as by default and reads half as far, because there are a
    thousand of them to train.
    """
    setup = Setup(dataset=dataset, split=UserHoldout(seed=1))
    if dataset.name != "jester":
        backbone = SASRec(dim=32, feed_forward=128, max_length=100)
        return Run(BC(), replace(setup, backbone=backbone))
    small = SASRec(dim=32, feed_forward=64, history_rewards=True)
    setup = replace(
        setup,
        split=UserHoldout(train=0.4, reward=0.3, judge=0.1, validation=0.05, test=0.15, seed=1),
        backbone=small,
        reward=RewardEnsemble(
            encoder=small,
            training=Training(epochs=30, batch_size=32, weight_decay=0.1, patience=3),
        ),
    )
    plan = replace(POSTTRAINING, steps=200, batch_size=16, learning_rate=1e-3)
    return Run(BC(), setup, posttraining=plan)


@dataclass(frozen=True)
class Method:
    """One line of the figure. strengths: the same algorithm, the weakest first; each is a trial.
    steps: the share of the post-training steps that a strength takes, where it is not all of them.

    asks_model: whether errors of the reward model can change it. Logged rewards change all, because
    policies read those of the history. control: what it is given in place of the rewards.
    """

    name: str
    strengths: Mapping[str, Algorithm] = field(hash=False)
    asks_model: bool = False
    control: RewardControl | None = None
    steps: Mapping[str, float] = field(default_factory=dict, hash=False)

    def runs(self, base: Run, noise: RewardNoise = RewardNoise()) -> Iterator[Run]:
        for strength, algorithm in self.strengths.items():
            plan = base.posttraining
            if strength in self.steps:
                assert plan.steps is not None
                plan = replace(plan, steps=max(1, round(self.steps[strength] * plan.steps)))
            yield Run(
                algorithm, base.setup, self.name, plan, noise, self.control, strength=strength
            )


# As many trials as the others: imitation has no strength but how long it goes on.
BC_STEPS = {"a quarter of the steps": 0.25, "half of the steps": 0.5, "all steps": 1.0}
IMITATION = dict.fromkeys(BC_STEPS, BC())

METHODS = (
    Method("BC", IMITATION, steps=BC_STEPS),
    Method("RWR", {"": RWR()}),
    Method("Exp-RSFT", {f"temperature {t:g}": ExpRSFT(temperature=t) for t in (2.0, 1.0, 0.5)}),
    Method(
        "A-SFT",
        {f"temperature {t:g}": ASFT(temperature=t) for t in (2.0, 1.0, 0.5)},
        asks_model=True,  # for its baseline
    ),
    Method(
        "A-SFT, model reward",
        {
            f"temperature {t:g}": ASFT(model_reward, reference_value, temperature=t)
            for t in (1.0, 0.5, 0.25)
        },
        asks_model=True,
    ),
    Method(
        "PPO",
        {f"KL {c:g}": OfflinePPO(kl_coefficient=c) for c in (0.3, 0.1, 0.03)},
        asks_model=True,
    ),
    Method("DPO", {f"beta {b:g}": DPO(beta=b) for b in (2.0, 0.5, 0.1)}, asks_model=True),
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
        Method(f"BC, {given}", IMITATION, control=control, steps=BC_STEPS),
        Method(f"A-SFT, {given}", {"": FREE_ASFT}, control=control),
        Method(f"PPO, {given}", {"": FREE_PPO}, control=control),
    )
)
BOUNDS = (
    Method("PPO, true reward", {"": FREE_PPO}, control=TrueRewards()),
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
    Starvation: (0.5, 0.8, 0.95, 0.99),
}
LOG_NOISE: dict[Kind, tuple[float, ...]] = {ItemBias: ERRORS, Flips: FLIPS}
# Under these in the reward model every strength is run; elsewhere the one chosen without noise.
SWEPT = (ItemBias, Independent)


def grid(
    base: Run,
    methods: Sequence[Method] = METHODS,
    others: Sequence[Method] = CONTROLS,
    model_noise: Mapping[Kind, Sequence[float]] = MODEL_NOISE,
    log_noise: Mapping[Kind, Sequence[float]] = LOG_NOISE,
) -> list[Run]:
    """All methods without noise; under each noise those that it can change."""
    runs = [run for method in (*methods, *others) for run in method.runs(base)]
    for place, kinds in (("model", model_noise), ("log", log_noise)):
        changed = [each for each in methods if each.asks_model or place == "log"]
        for kind, levels in kinds.items():
            for level in levels:
                noise = RewardNoise(**{place: kind(level)})  # type: ignore[arg-type]
                runs += [run for method in changed for run in method.runs(base, noise)]
    return runs


def runs_on(dataset: Dataset = Jester()) -> list[Run]:
    bounds = BOUNDS if isinstance(dataset, World) else ()
    return grid(base_of(dataset), others=(*CONTROLS, *bounds))


def kept_strengths(noisy: Sequence[Run], validation: pd.DataFrame) -> list[Run]:
    best = dict(chosen(validation)[["method", "strength"]].itertuples(index=False, name=None))
    return [
        run
        for run in noisy
        if isinstance(run.noise.model, SWEPT) or run.strength == best.get(run.label)
    ]


RUNS = runs_on
UNDER_NOISE = kept_strengths
REDRAWS_NOISE = True
SEEDS = (0, 1, 2, 3, 4)
TUNING = (
    "three strengths of each method that has one, by NDCG@10 of liked validation targets, means "
    "over seeds; under noises without several strengths the one chosen without noise"
)
