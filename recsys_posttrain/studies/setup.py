"""A Setup: what post-training starts from, as one frozen value that many runs share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import get_args

from recsys_posttrain.config import require
from recsys_posttrain.data import LeaveOneOut, MovieLens100K, SplitConfig
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.eligibility import Catalogue
from recsys_posttrain.losses.base import PretrainingLoss
from recsys_posttrain.losses.full_softmax import FullSoftmax
from recsys_posttrain.models.backbone import BackboneConfig
from recsys_posttrain.models.features import ItemFeatures
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardConfig
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.rewards.noise.correlated import CORRELATIONS
from recsys_posttrain.training.pretrain import PRETRAINING
from recsys_posttrain.types import Repeats

# What each part is asked for, so that a wrong one is refused before anything runs.
_METHODS = {"dataset": "load", "split": "split", "backbone": "build", "pretraining_loss": "build"}
_METHODS |= {"reward": "train"}
_KINDS = {"pretraining": Training}


@dataclass(frozen=True)
class Setup:
    """What runs are built on.

    name: in the table, where a study has several; if left empty the backbone's class, or the name
        of the function `pretrained`.
    thresholds: of the dataset's rewards, where its scale is not to say what is liked.
    repeats: whether users choose items again, which decides what may be shown; None: as measured
        in the log (data/repeats.py).
    never_shown: ids of items that nobody is shown (data/never_shown.py); "@masked.txt" stands for
        those that a file holds, one a line.
    item_features: a .parquet file of vectors of items, which the backbone's item vectors read too
        (models/features.py); empty: none.
    pretrained: a function that gives a policy from elsewhere (rp.policy_of, rp.load_policy); then
        nothing is pretrained, so that backbone, pretraining and pretraining_loss are not read.
    available: a table of item_id, from, until, region: when and where items may be shown
        (data/available.py).
    reward: the settings of a class of reward models.
    judge: those of the judge, where they are not the same.
    judge_errors: correlations of the errors of further judges with those that a noise adds to the
        reward model (rewards/noise/correlated.py); each is a rule by which strengths are chosen.
    catalogue: what policies are a softmax over. "eligible": what may be shown; "all": everything,
        the training of most of the literature, as an ablation; rankings leave out what they did.
    seed: of the pretrained policy, the reward model and the judge.
    """

    dataset: Dataset = MovieLens100K()
    split: SplitConfig = LeaveOneOut()
    thresholds: Thresholds = Thresholds()
    repeats: Repeats | None = None
    catalogue: Catalogue = "eligible"
    never_shown: tuple[str, ...] = ()
    available: str = ""
    backbone: BackboneConfig = SASRec()
    item_features: str = ""
    pretraining: Training = PRETRAINING
    pretraining_loss: PretrainingLoss = FullSoftmax()
    pretrained: Callable[[], Policy] | None = None
    reward: RewardConfig = RewardFactors()
    judge: RewardConfig | None = None
    judge_errors: tuple[float, ...] = ()
    seed: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        judge = {} if self.judge is None else {"judge": "train"}
        check_parts(self, _METHODS | judge, _KINDS)
        require(
            self.catalogue in get_args(Catalogue),
            f'Setup: catalogue={self.catalogue!r} must be "eligible" or "all".',
        )
        require(
            self.pretrained is None or callable(self.pretrained),
            f"Setup: pretrained={self.pretrained!r} must be a function that gives a "
            "policy, or None.",
        )
        require(
            set(self.judge_errors) <= set(CORRELATIONS),
            f"Setup: judge_errors={self.judge_errors!r} can hold "
            f"{', '.join(f'{rho:g}' for rho in CORRELATIONS)}.",
        )
        require(
            isinstance(self.item_features, str) and self.policy_backbone,  # which reads the file
            f"Setup: item_features={self.item_features!r} must be the path of a .parquet file.",
        )
        require(
            self.pretrained is None or not self.item_features,
            f"Setup: item_features={self.item_features!r} is for pretraining, and pretrained=... "
            "gives a policy from elsewhere; leave one of them out.",
        )
        require(
            isinstance(self.never_shown, tuple),
            f"Setup: never_shown={self.never_shown!r} must be a tuple of item ids, such as "
            '("12", "34") or ("@masked.txt",).',
        )

    @property
    def label(self) -> str:
        own = getattr(self.pretrained, "__name__", type(self.backbone).__name__)
        return self.name or str(own)

    @property
    def policy_backbone(self) -> BackboneConfig:
        """The backbone with the item features."""
        if not self.item_features:
            return self.backbone
        if isinstance(self.backbone, ItemFeatures):
            return replace(self.backbone, path=self.item_features)
        return ItemFeatures(self.item_features, self.backbone)

    @property
    def judge_config(self) -> RewardConfig:
        if self.judge is not None:
            return self.judge
        # A model that learns nothing cannot judge itself on other users.
        return self.reward if getattr(self.reward, "learns", True) else RewardFactors()

    @property
    def data(
        self,
    ) -> tuple[Dataset, SplitConfig, Thresholds, Repeats | None, tuple[str, ...], str]:
        """What decides on which users and targets a policy is trained and evaluated."""
        mask = self.never_shown, self.available
        return self.dataset, self.split, self.thresholds, self.repeats, *mask


def check_parts(value: object, methods: Mapping[str, str], kinds: Mapping[str, type]) -> None:
    """Raises UserError for a field without the method that it is asked for, or of another kind."""
    owner = type(value).__name__
    for name, method in methods.items():
        part = getattr(value, name)
        require(
            callable(getattr(part, method, None)) and not isinstance(part, type),
            f"{owner}: {name}={part!r} has no method {method}; give a value such as "
            "algorithm=BC(), with its brackets.",
        )
    for name, kind in kinds.items():
        part = getattr(value, name)
        require(isinstance(part, kind), f"{owner}: {name}={part!r} must be a {kind.__name__}(...).")
