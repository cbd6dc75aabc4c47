"""A policy on disk: policy.safetensors beside policy.json, enough to recommend without the rest.

policy.json says what the policy is, wherever it was made: its backbone, the ids of its items, and
the hash and the repeat rule of the log that it was trained on. source.json says where that log was:
the dataset with its settings, and a file by its absolute path.
"""

from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import recsys_posttrain.backbones as backbones
from recsys_posttrain.backbones.base import BackboneConfig
from recsys_posttrain.config import describe, described_value
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.errors import UserError
from recsys_posttrain.frozen import FrozenPolicy
from recsys_posttrain.policy import Policy
from recsys_posttrain.reward_scale import RewardScale, scale_in
from recsys_posttrain.stages import load_tensors, read_json, save_tensors, write_json
from recsys_posttrain.training.pretrain import new_policy
from recsys_posttrain.types import Corpus, Repeats

WEIGHTS = "policy.safetensors"


class SavedPolicy(NamedTuple):
    """item_ids[v - 1]: the dataset's id of item v. content_hash, repeats: of the log that it was
    trained on. dataset: the name of that log. source: what `describe` made of it. reward_scale: by
    which its backbone reads the rewards of a history, where it does."""

    policy: FrozenPolicy
    item_ids: np.ndarray
    content_hash: str
    repeats: Repeats
    dataset: str
    source: dict[str, Any]
    reward_scale: RewardScale


def save_policy(
    folder: Path, policy: Policy, backbone: BackboneConfig, corpus: Corpus, dataset: Dataset
) -> None:
    """corpus: what the policy was trained on, prepared from the dataset."""
    save_tensors(folder / WEIGHTS, policy.state_dict())
    item_ids = corpus.item_ids if policy.item_ids is None else policy.item_ids
    card = {
        "backbone": describe(backbone),
        "content_hash": corpus.content_hash,
        "repeats": corpus.repeats,
        "item_ids": item_ids.tolist(),
        "reward_scale": asdict(corpus.reward_scale),
    }
    write_json(folder / "policy.json", card)
    path = getattr(dataset, "path", None)
    if path is not None and is_dataclass(dataset) and not isinstance(dataset, type):
        # Absolute: whoever reuses this policy may work in another folder.
        dataset = replace(dataset, path=str(Path(path).expanduser().absolute()))
    write_json(folder / "source.json", {"name": corpus.name, "dataset": describe(dataset)})


def load_policy(folder: Path, weights: str = WEIGHTS) -> SavedPolicy:
    """weights: the file in the folder; those of a step on the way are beside the last ones.

    Errors: UserError for a folder without a policy, or one whose files disagree."""
    card = _read(folder / "policy.json", "backbone", "content_hash", "repeats", "item_ids")
    source = _read(folder / "source.json", "name", "dataset")
    item_ids = ids_array(card["item_ids"])
    policy = new_policy(_backbone(card["backbone"], folder), len(item_ids), seed=0)
    policy.item_ids = item_ids
    shapes = {name: value.shape for name, value in policy.state_dict().items()}
    policy.load_state_dict(load_tensors(folder / weights, shapes))
    return SavedPolicy(
        FrozenPolicy(policy),
        item_ids,
        card["content_hash"],
        card["repeats"],
        source["name"],
        source["dataset"],
        scale_in(card),
    )


def ids_array(ids: list[Any]) -> np.ndarray:
    """Text as objects: an array of text gives every id the room of the longest."""
    is_text = any(isinstance(each, str) for each in ids)
    return np.asarray(ids, dtype=object if is_text else None)


def _read(path: Path, *keys: str) -> dict[str, Any]:
    fix = "give the folder of a pretrained or post-trained policy, e.g. runs/stages/posttrain-..."
    card = read_json(path, fix=fix)
    if not isinstance(card, dict) or not set(keys) <= card.keys():
        raise UserError(
            f"{path} does not describe a policy of this version: {fix}, or run the study that "
            "made it again"
        )
    return card


def _backbone(described: dict[str, Any], folder: Path) -> BackboneConfig:
    """The frozen dataclass of the package `backbones` that describe() wrote down."""
    try:
        config: BackboneConfig = described_value(described, vars(backbones))
    except UserError:
        raise UserError(
            f"{folder / 'policy.json'} names the backbone {described}, which this version does "
            "not have; use the version that saved it"
        ) from None
    return config
