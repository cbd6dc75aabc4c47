"""What the study runs: methods over their strengths, under kinds of noise over their levels."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

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
from recsys_posttrain.rewards.ensemble import RewardEnsemble
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
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.posttrain import POSTTRAINING

Kind = type[ErrorNoise] | type[Flips] | type[Starvation]


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
    """One line of the figure. strengths: the same algorithm, timid first; each is a trial. steps:
    the share of the post-training steps that a strength takes, where it is not all of them.

    asks_model: whether errors of the reward model can change it. Logged rewards change all, because
    policies read those of the history. control: what it is given in place of the rewards. against:
    the imitation that it is compared with, which was given the same.
    """

    name: str
    strengths: Mapping[str, Algorithm] = field(hash=False)
    asks_model: bool = False
    control: RewardControl | None = None
    steps: Mapping[str, float] = field(default_factory=dict, hash=False)
    against: str = "BC"


# As many trials as the others: imitation has no strength but how long it goes on.
BC_STEPS = {"a quarter of the steps": 0.25, "half of the steps": 0.5, "all steps": 1.0}
IMITATION = dict.fromkeys(BC_STEPS, BC())

METHODS = (
    Method("BC", IMITATION, steps=BC_STEPS),
    Method("RWR", {"": RWR()}),
    Method("Exp-RSFT", {f"temperature {t:g}": ExpRSFT(temperature=t) for t in (2.0, 1.0, 0.5)}),
    Method("A-SFT", {f"temperature {t:g}": ASFT(temperature=t) for t in (2.0, 1.0, 0.5)}),
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

# Run without noise only, at the boldest strengths, so that what rewards do has room to show. BC as
# well: where a policy reads the rewards of its history, they change what it learns to imitate.
BOLD_ASFT, BOLD_PPO = ASFT(temperature=0.5), OfflinePPO(kl_coefficient=0.03)
CONTROLS = tuple(
    method
    for given, control in (
        ("shuffled reward", ShuffledRewards()),
        ("constant reward", ConstantRewards()),
    )
    for method in (
        Method(f"BC, {given}", IMITATION, control=control, steps=BC_STEPS, against=f"BC, {given}"),
        Method(f"A-SFT, {given}", {"": BOLD_ASFT}, control=control, against=f"BC, {given}"),
        Method(f"PPO, {given}", {"": BOLD_PPO}, control=control, against=f"BC, {given}"),
    )
)
BOUNDS = (
    Method("PPO, true reward", {"": BOLD_PPO}, control=TrueRewards()),
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
# Under these every strength is run; under the others the one that validation chose without noise.
SWEPT = ("", "ItemBias", "Independent")


@dataclass(frozen=True)
class Condition:
    """One noise at one level. place: "model", "log", or "" without noise. kind: its class."""

    place: str = ""
    kind: str = ""
    level: float = 0.0
    noise: RewardNoise = RewardNoise()

    @property
    def is_swept(self) -> bool:
        return self.place != "log" and self.kind in SWEPT

    def methods(self, is_world: bool) -> tuple[Method, ...]:
        """Those that this noise can change; without noise all, and the controls."""
        if not self.place:
            return (*METHODS, *CONTROLS, *(BOUNDS if is_world else ()))
        return tuple(each for each in METHODS if each.asks_model or self.place != "model")


def conditions(seed: int) -> Iterator[Condition]:
    """Without noise first. Each seed draws errors of its own, so intervals cover them too."""
    yield Condition()
    for place, kinds in (("model", MODEL_NOISE), ("log", LOG_NOISE)):
        for kind, levels in kinds.items():
            for level in levels:
                parts = {place: kind(level)}
                yield Condition(place, kind.__name__, level, RewardNoise(**parts, seed=seed))
