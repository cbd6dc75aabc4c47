"""A Run: everything that one row of a table depends on, as one frozen value."""

from dataclasses import dataclass, field, replace
from typing import Any

from recsys_posttrain.algorithms.base import Algorithm, family_of
from recsys_posttrain.config import require
from recsys_posttrain.override import INLINE
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.control import RewardControl, ShuffledRewards
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.studies.setup import Setup, check_parts
from recsys_posttrain.training.posttrain import POSTTRAINING
from recsys_posttrain.untrained.base import Untrained

# Of noise, in words.
PLACES = {"model": "model", "log": "log", "shared": "log and the model"}


@dataclass(frozen=True)
class Run:
    """One method of a study: an algorithm, or a method without training (untrained/).

    setup: what it starts from. Runs of one study may share it; `--set` reaches its fields too.
    name: in the table; the algorithm's class if left empty.
    noise: in the reward that post-training sees, each run its own.
    control: what post-training is given in place of the log's rewards and the reward model.
    seed: of post-training.
    strength: a label of the setting, where several runs are one method at several strengths.
    with_reward_log: whether post-training also learns from the log of the reward model's users,
        where the split keeps these apart (UserHoldout). Imitation is denied them otherwise.
    """

    algorithm: Algorithm | Untrained
    setup: Setup = field(default=Setup(), metadata=INLINE)
    name: str = ""
    posttraining: Training = POSTTRAINING
    noise: RewardNoise = RewardNoise()
    control: RewardControl | None = None
    seed: int = 0
    strength: str = ""
    with_reward_log: bool = False

    def __post_init__(self) -> None:
        kinds = {"setup": Setup, "posttraining": Training, "noise": RewardNoise}
        asked = "ranker" if hasattr(self.algorithm, "ranker") else "loss"
        check_parts(self, {"algorithm": asked}, kinds)
        require(
            self.control is None or isinstance(self.control, RewardControl),
            f"{self.label}: control={self.control!r} is not a control of "
            "recsys_posttrain.rewards.control; give one, e.g. ShuffledRewards(), or None.",
        )
        require(
            self.control is None or self.noise == RewardNoise(),
            f"{self.label}: control={self.control!r} replaces the rewards that {self.noise!r} "
            "would change; leave out one of the two.",
        )
        require(
            not self.with_reward_log or (self.control is None and self.noise.log is None),
            f"{self.label}: with_reward_log=True reads the logs as they are; leave out control= "
            "and the noise in the log.",
        )

    def with_seed(self, seed: int, full: bool = False) -> "Run":
        """This run with another seed, and where its rewards are shuffled with another shuffle: that
        is one draw of chance, which an interval over seeds has to cover. full: of its setup too."""
        control = self.control
        if isinstance(control, ShuffledRewards):
            control = replace(control, seed=seed)
        setup = replace(self.setup, seed=seed) if full else self.setup
        return replace(self, setup=setup, seed=seed, control=control)

    @property
    def is_trained(self) -> bool:
        return not isinstance(self.algorithm, Untrained)

    @property
    def label(self) -> str:
        return self.name or type(self.algorithm).__name__

    @property
    def family(self) -> str:
        """Of methods that are alike, for the table."""
        return family_of(self.algorithm) if self.is_trained else "no training"

    @property
    def title(self) -> str:
        """The label, the strength and the noise: of one run where several are one method."""
        places = {"model": "model", "log": "shared" if self.noise.shared else "log"}
        noises = ((PLACES[place], getattr(self.noise, part)) for part, place in places.items())
        parts = [f"{type(n).__name__} {n.level:g} in the {place}" for place, n in noises if n]
        return ", ".join(filter(None, [self.label, self.strength, *parts]))

    @property
    def row(self) -> dict[str, Any]:
        """What its rows say of it: place, kind and level are of the noise."""
        place, noise = self.noise.place, self.noise.model or self.noise.log
        return {
            "method": self.label,
            "setup": self.setup.label,
            "place": place,
            "kind": type(noise).__name__ if noise else "",
            "level": float(noise.level) if noise else 0.0,
            "strength": self.strength,
        }
