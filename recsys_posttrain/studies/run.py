"""A Run: everything that one row of a table depends on, as one frozen value."""

from dataclasses import dataclass, replace

from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.config import require
from recsys_posttrain.data import LeaveOneOut, MovieLens100K, SplitConfig
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.losses.base import PretrainingLoss
from recsys_posttrain.losses.full_softmax import FullSoftmax
from recsys_posttrain.models.backbone import BackboneConfig
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.rewards.control import RewardControl, ShuffledRewards
from recsys_posttrain.rewards.ensemble import RewardEnsemble
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.training.posttrain import POSTTRAINING
from recsys_posttrain.training.pretrain import PRETRAINING
from recsys_posttrain.types import Repeats

# What each part is asked for, so that a wrong one is refused before anything runs.
_METHODS = {
    "algorithm": "loss",
    "dataset": "load",
    "split": "split",
    "backbone": "build",
    "pretraining_loss": "build",
}
_KINDS = {
    "pretraining": Training,
    "posttraining": Training,
    "reward": RewardEnsemble,
    "noise": RewardNoise,
}


@dataclass(frozen=True)
class Run:
    """name: in the table; the algorithm's class if left empty.

    seed: of post-training. pretraining_seed: of the pretrained policy and the reward model, which
    all runs of a study share. thresholds: of the dataset's rewards, where its scale is not to say
    what is liked (reward_scale.py). noise: in the reward that post-training sees, each run its own.
    control: what post-training is given in place of the log's rewards and the reward model.
    repeats: whether users choose items again, which decides what may be shown; None: as measured in
    the log (data/repeats.py).
    """

    algorithm: Algorithm
    name: str = ""
    dataset: Dataset = MovieLens100K()
    split: SplitConfig = LeaveOneOut()
    thresholds: Thresholds = Thresholds()
    backbone: BackboneConfig = SASRec()
    pretraining: Training = PRETRAINING
    pretraining_loss: PretrainingLoss = FullSoftmax()
    reward: RewardEnsemble = RewardEnsemble()
    posttraining: Training = POSTTRAINING
    noise: RewardNoise = RewardNoise()
    control: RewardControl | None = None
    seed: int = 0
    pretraining_seed: int = 0
    repeats: Repeats | None = None

    def __post_init__(self) -> None:
        for name, method in _METHODS.items():
            part = getattr(self, name)
            require(
                callable(getattr(part, method, None)) and not isinstance(part, type),
                f"Run: {name}={part!r} has no method {method}; give a value such as "
                "algorithm=BC(), with its brackets.",
            )
        for name, kind in _KINDS.items():
            part = getattr(self, name)
            require(isinstance(part, kind), f"Run: {name}={part!r} must be a {kind.__name__}(...).")
        require(
            self.control is None or isinstance(self.control, RewardControl),
            f"{self.label}: control={self.control!r} is not a control of "
            "recsys_posttrain.rewards.control; give one, e.g. ShuffledRewards(), or None.",
        )
        require(
            self.control is None or self.noise.active() == RewardNoise(),
            f"{self.label}: control={self.control!r} replaces the rewards that {self.noise!r} "
            "would change; leave out one of the two.",
        )

    def with_seed(self, seed: int) -> "Run":
        """This run with another seed, and where its rewards are shuffled with another shuffle: that
        is one draw of chance, which an interval over seeds has to cover."""
        control = self.control
        if isinstance(control, ShuffledRewards):
            control = replace(control, seed=seed)
        return replace(self, seed=seed, control=control)

    @property
    def label(self) -> str:
        return self.name or type(self.algorithm).__name__
