"""The reward model in a stage's folder, to rank with a saved policy, far from its study."""

from pathlib import Path

import recsys_posttrain.models as backbones
from recsys_posttrain.config import described_value, require
from recsys_posttrain.errors import UserError
from recsys_posttrain.guard import Guard
from recsys_posttrain.models.checkpoint import SavedPolicy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.store import RECORD, delete, read_stage
from recsys_posttrain.studies.reward_stages import WEIGHTS
from recsys_posttrain.training.ensemble import RewardEnsemble

KINDS = (Training, Guard, RewardEnsemble, RewardFactors)
CLASSES = {**vars(backbones), **{kind.__name__: kind for kind in KINDS}}
GIVE = "give the folder of a reward model with --reward, such as runs/stages/reward-..."


def reward_of(policy_folder: Path, saved: SavedPolicy, folder: Path | None = None) -> RewardModel:
    """The reward model in `folder`; None: the one that the policy was post-trained with, which lies
    beside it.

    Errors: UserError where there is none, or it was trained on another log than the policy.
    """
    folder = folder or beside(policy_folder)
    require(
        folder is not None,
        f"{policy_folder} does not say which reward model it was post-trained with (a pretrained "
        f"policy has none): {GIVE}.",
    )
    assert folder is not None
    require((folder / WEIGHTS).is_file(), f"{folder} holds no reward model ({WEIGHTS}): {GIVE}.")
    key = read_stage(folder)["key"]
    require(
        key.get("content_hash") == saved.numbered_by,
        f"the reward model in {folder} was trained on another log than the policy (SHA-256 "
        f"{str(key.get('content_hash'))[:12]}..., not {saved.numbered_by[:12]}...): {GIVE}, of "
        "the same log.",
    )
    try:
        config = described_value(key["reward"], CLASSES)
    except UserError as refusal:
        raise UserError(f"{folder}: {refusal}; {GIVE}, of a class of this package.") from None
    model: RewardModel = config.build(len(saved.item_ids))
    model.restore(folder / WEIGHTS, delete(folder))
    model.item_ids = saved.item_ids
    return model.requires_grad_(False).eval()


def beside(policy_folder: Path) -> Path | None:
    """The folder of the reward model that a policy was post-trained with; None: it says of none."""
    key = read_stage(policy_folder)["key"] if (policy_folder / RECORD).is_file() else {}
    name = key.get("reward")
    return policy_folder.parent / name if isinstance(name, str) else None
