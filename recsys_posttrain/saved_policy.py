"""A policy on disk: policy.safetensors beside policy.json, enough to recommend without the rest."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import recsys_posttrain.backbones as backbones
from recsys_posttrain.backbones.base import BackboneConfig
from recsys_posttrain.config import describe
from recsys_posttrain.errors import UserError
from recsys_posttrain.frozen import FrozenPolicy
from recsys_posttrain.policy import Policy
from recsys_posttrain.reward_scale import RewardScale, scale_in
from recsys_posttrain.stages import load_tensors, read_json, save_tensors, write_json
from recsys_posttrain.training.pretrain import new_policy
from recsys_posttrain.types import Corpus

WEIGHTS = "policy.safetensors"


class SavedPolicy(NamedTuple):
    """dataset: what `dataset_named` reads. item_ids[v - 1]: the dataset's id of item v.
    reward_scale: by which its backbone reads the rewards of a history, where it does."""

    policy: FrozenPolicy
    dataset: str
    minimum_item_ratings: int
    item_ids: np.ndarray
    reward_scale: RewardScale


def save_policy(
    folder: Path,
    policy: Policy,
    backbone: BackboneConfig,
    corpus: Corpus,
    dataset: str,
    minimum_item_ratings: int,
) -> None:
    save_tensors(folder / WEIGHTS, policy.state_dict())
    write_json(
        folder / "policy.json",
        {
            "backbone": describe(backbone),
            "dataset": dataset,
            "minimum_item_ratings": minimum_item_ratings,
            "item_ids": corpus.item_ids.tolist(),
            "reward_scale": asdict(corpus.reward_scale),
        },
    )


def load_policy(folder: Path, weights: str = WEIGHTS) -> SavedPolicy:
    """weights: the file in the folder; those of a step on the way are beside the last ones.

    Errors: UserError for a folder without a policy, or one whose two files disagree."""
    card = _card(folder)
    item_ids = ids_array(card["item_ids"])
    policy = new_policy(_backbone(card["backbone"], folder), len(item_ids), seed=0)
    shapes = {name: value.shape for name, value in policy.state_dict().items()}
    policy.load_state_dict(load_tensors(folder / weights, shapes))
    return SavedPolicy(
        FrozenPolicy(policy),
        card["dataset"],
        card["minimum_item_ratings"],
        item_ids,
        scale_in(card),
    )


def ids_array(ids: list[Any]) -> np.ndarray:
    """Text as objects: an array of text gives every id the room of the longest."""
    is_text = any(isinstance(each, str) for each in ids)
    return np.asarray(ids, dtype=object if is_text else None)


def _card(folder: Path) -> dict[str, Any]:
    fix = "give the folder of a pretrained or post-trained policy, e.g. runs/stages/posttrain-..."
    card = read_json(folder / "policy.json", fix=fix)
    missing = (*SavedPolicy._fields[1:-1], "backbone")
    if not isinstance(card, dict) or not set(missing) <= card.keys():
        raise UserError(f"{folder / 'policy.json'} does not describe a policy: {fix}")
    return card


def _backbone(described: dict[str, Any], folder: Path) -> BackboneConfig:
    """The frozen dataclass of the package `backbones` that describe() wrote down."""
    fields = dict(described)
    kind = getattr(backbones, fields.pop("class"), None)
    try:
        config: BackboneConfig = kind(**fields)  # type: ignore[misc]
    except TypeError:
        raise UserError(
            f"{folder / 'policy.json'} names the backbone {described}, which this version does "
            "not have; use the version that saved it"
        ) from None
    return config
