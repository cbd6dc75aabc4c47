"""A policy on disk: policy.safetensors beside policy.json, enough to recommend without the rest."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import recsys_posttrain.backbones as backbones
from recsys_posttrain.backbones.base import BackboneConfig
from recsys_posttrain.config import describe, require
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import read_record, write_json
from recsys_posttrain.frozen import FrozenPolicy
from recsys_posttrain.policy import Policy
from recsys_posttrain.reward_scale import RewardScale, scale_in
from recsys_posttrain.stages import RECORD, read_stage
from recsys_posttrain.tensors import load_tensors, save_tensors
from recsys_posttrain.training.pretrain import new_policy
from recsys_posttrain.types import Corpus

WEIGHTS = "policy.safetensors"
CARD = "policy.json"
POLICY_FILES = (WEIGHTS, CARD)
FIX = "give the folder of a pretrained or post-trained policy, e.g. runs/stages/posttrain-..."


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
        folder / CARD,
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
    if (folder / RECORD).is_file():
        read_stage(folder)  # whether its files are those that it was finished with
    card = _card(folder)
    item_ids = ids_array(card["item_ids"])
    backbone = _backbone(card["backbone"], folder)
    with torch.device("meta"):  # without memory: a damaged card may ask for any amount
        like = Policy(backbone.build(len(item_ids))).state_dict()
    tensors = load_tensors(folder / weights, like, FIX)
    policy = new_policy(backbone, len(item_ids), seed=0)
    policy.load_state_dict(tensors)
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
    card = read_record(folder / CARD, (*SavedPolicy._fields[1:-1], "backbone"), FIX)
    items, minimum = card["item_ids"], card["minimum_item_ratings"]
    is_policy = (
        isinstance(items, list)
        and len({type(item) for item in items}) == 1
        and isinstance(items[0], str | int)
        and isinstance(minimum, int)
        and isinstance(card["dataset"], str)
    )
    require(is_policy, f"{folder / CARD} does not describe a policy: {FIX}")
    return card


def _backbone(described: dict[str, Any], folder: Path) -> BackboneConfig:
    """The frozen dataclass of the package `backbones` that describe() wrote down."""
    try:
        fields = dict(described)
        config: BackboneConfig = getattr(backbones, fields.pop("class"))(**fields)
        # One with values of other types, a size of "64" say, describes itself otherwise.
        if describe(config) == described:
            return config
    except UserError as refusal:
        raise UserError(f"{folder / CARD}: {refusal}") from None
    except (TypeError, ValueError, KeyError, AttributeError):
        pass
    raise UserError(
        f"{folder / CARD} names the backbone {described}, which this version does not have; use "
        "the version that saved it"
    )
