"""A Run: everything that one row of a table depends on, as one frozen value."""

from dataclasses import dataclass

from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.backbones.base import BackboneConfig
from recsys_posttrain.backbones.sasrec import SASRec
from recsys_posttrain.data import LeaveOneOut, MovieLens100K, SplitConfig
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.losses.base import PretrainingLoss
from recsys_posttrain.losses.full_softmax import FullSoftmax
from recsys_posttrain.rewards.ensemble import RewardEnsemble
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.training.module import Training
from recsys_posttrain.training.posttrain import POSTTRAINING
from recsys_posttrain.training.pretrain import PRETRAINING


@dataclass(frozen=True)
class Run:
    """name: in the table; the algorithm's class if left empty.

    seed: of post-training. pretraining_seed: of the pretrained policy and the reward model, which
    all runs of a study share. noise: in the reward that post-training sees, each run its own.
    """

    algorithm: Algorithm
    name: str = ""
    dataset: Dataset = MovieLens100K()
    split: SplitConfig = LeaveOneOut()
    backbone: BackboneConfig = SASRec()
    pretraining: Training = PRETRAINING
    pretraining_loss: PretrainingLoss = FullSoftmax()
    reward: RewardEnsemble = RewardEnsemble()
    posttraining: Training = POSTTRAINING
    noise: RewardNoise = RewardNoise()
    seed: int = 0
    pretraining_seed: int = 0

    @property
    def label(self) -> str:
        return self.name or type(self.algorithm).__name__
