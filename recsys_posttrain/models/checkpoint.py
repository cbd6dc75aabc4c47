"""A policy on disk: policy.safetensors beside policy.json, enough to recommend without the rest.

policy.json describes the policy, wherever it was trained: its backbone, the ids of its items and of
those that it is never to show, and the hash and the repeat rule of the log that it was trained on.
source.json says where that log was:
the dataset with its settings, and a file by its absolute path.
"""

from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch

import recsys_posttrain.models as backbones
from recsys_posttrain.config import describe, described_value, require
from recsys_posttrain.data.available import windows_in, windows_rows
from recsys_posttrain.data.encode import numbers
from recsys_posttrain.data.never_shown import never_shown_ids
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import read_record, write_json
from recsys_posttrain.models.backbone import BackboneConfig
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.own import OwnEncoder
from recsys_posttrain.models.policy import Policy, new_policy
from recsys_posttrain.reward_scale import RewardScale, scale_in
from recsys_posttrain.store import RECORD, read_stage
from recsys_posttrain.tensors import load_tensors, save_tensors
from recsys_posttrain.types import Corpus, Repeats
from recsys_posttrain.windows import Windows

WEIGHTS = "policy.safetensors"
CARD = "policy.json"
SOURCE = "source.json"
POLICY_FILES = (WEIGHTS, CARD, SOURCE)
NEVER = 1e-9  # events of an item without any
FIX = "give the folder of a pretrained or post-trained policy, e.g. runs/stages/posttrain-..."


class SavedPolicy(NamedTuple):
    """A policy from disk, and facts about the log that it was trained on."""

    policy: FrozenPolicy
    item_ids: np.ndarray  # item_ids[v - 1] is the dataset's id of item v
    content_hash: str  # of the log
    repeats: Repeats  # of the log
    dataset: str  # name of the log
    source: dict[str, Any]  # the dataset, as `describe` writes it
    reward_scale: RewardScale  # for a backbone that reads the rewards of a history
    never_shown_M: torch.Tensor | None = None  # items that it is never to show
    windows: Windows | None = None  # when it may show items
    newest: int | None = None  # time of the log's last event, in seconds; of older versions None
    numbered_by: str = ""  # content hash of the log whose numbering of the items it has
    popularity_V: torch.Tensor | None = None  # log of how often each was chosen; None: not known
    unknown_users: Literal["popularity", "nothing"] | None = None  # as for `recommend`


def save_policy(
    folder: Path,
    policy: Policy,
    backbone: BackboneConfig,
    corpus: Corpus,
    dataset: Dataset | None,
    numbered_by: str = "",
) -> None:
    """Writes a policy into a folder.

    corpus: the log that the policy was trained on, prepared from `dataset`; None: from a data
    frame, say, which nobody finds again. numbered_by: the content hash of the log that numbered the
    items, where it is another one.
    """
    save_tensors(folder / WEIGHTS, policy.state_dict())
    item_ids = corpus.item_ids if policy.item_ids is None else policy.item_ids
    card = {
        "backbone": describe(backbone),
        "content_hash": corpus.content_hash,
        "repeats": corpus.repeats,
        "item_ids": item_ids.tolist(),
        "never_shown": never_shown_ids(corpus),
        "available": windows_rows(corpus),
        "events": event_counts_of(corpus, item_ids).tolist(),
        "reward_scale": asdict(corpus.reward_scale),
        "newest": int(corpus.sequences.timestamps_E.max()),
        "numbered_by": numbered_by or corpus.content_hash,
    }
    write_json(folder / CARD, card)
    path = getattr(dataset, "path", None)
    if path is not None and is_dataclass(dataset) and not isinstance(dataset, type):
        # Absolute: whoever reuses this policy may work in another folder.
        dataset = replace(dataset, path=str(Path(path).expanduser().absolute()))
    described = {} if dataset is None else describe(dataset)
    write_json(folder / SOURCE, {"name": corpus.name, "dataset": described})


def load_policy(
    folder: Path,
    weights: str = WEIGHTS,
    encoder: torch.nn.Module | None = None,
    bfloat16_items: bool = False,
) -> SavedPolicy:
    """The policy in a folder.

    weights: the file of the weights; those after a step during training are beside the last ones.
    encoder: of a policy with one of the user's own (own.py), a module of that class.
    bfloat16_items: the item table in half of its memory, for lists and their evaluation.

    Errors: UserError for a folder without a policy, or one whose files disagree."""
    if (folder / RECORD).is_file():
        read_stage(folder)  # whether its files are those that it was finished with
    card, source = _card(folder), _source(folder)
    item_ids = ids_array(card["item_ids"])
    backbone = _backbone(card["backbone"], folder)
    if encoder is not None:
        is_own = isinstance(backbone, OwnEncoder)
        require(is_own, f"{folder}: the backbone is {backbone}; leave out encoder=...")
        backbone = replace(backbone, module=encoder)  # type: ignore[type-var]
    with torch.device("meta"):  # without memory: a damaged card may ask for any amount
        like = Policy(backbone.build(len(item_ids))).state_dict()
    tensors = load_tensors(folder / weights, like, FIX)
    policy = new_policy(backbone, len(item_ids), seed=0)
    if encoder is not None:
        policy.backbone.config = replace(backbone, module=None)  # type: ignore[type-var,assignment]
    policy.item_ids = item_ids
    policy.load_state_dict(tensors)
    if bfloat16_items:
        table: torch.nn.Module = policy.backbone.item_embedding  # type: ignore[assignment]
        require(
            type(table) is torch.nn.Embedding and not isinstance(backbone, OwnEncoder),
            f"{folder}: items that stand on features, or belong to an encoder of your own, stay in "
            "float32; leave bfloat16_items out.",
        )
        table.to(torch.bfloat16)
    return SavedPolicy(
        FrozenPolicy(policy),
        item_ids,
        card["content_hash"],
        card["repeats"],
        source["name"],
        source["dataset"],
        scale_in(card),
        _never_shown(card, item_ids, folder),
        _windows(card, item_ids, folder),
        card.get("newest"),
        card.get("numbered_by", card["content_hash"]),
        _popularity(card, item_ids, folder),
    )


def _never_shown(card: dict[str, Any], item_ids: np.ndarray, folder: Path) -> torch.Tensor | None:
    masked = card.get("never_shown", [])  # of an older version: none
    known = {str(each): number for number, each in enumerate(item_ids.tolist(), start=1)}
    is_mask = isinstance(masked, list) and all(
        isinstance(each, str) and each in known for each in masked
    )
    require(is_mask, f"{folder / CARD}: never_shown is no list of ids of its items: {FIX}")
    return torch.tensor(sorted(known[each] for each in masked)) if masked else None


def _windows(card: dict[str, Any], item_ids: np.ndarray, folder: Path) -> Windows | None:
    known = {str(each): number for number, each in enumerate(item_ids.tolist(), start=1)}
    try:
        return windows_in(card.get("available"), known.__getitem__)
    except (TypeError, ValueError, KeyError, RuntimeError, OverflowError):
        raise UserError(f"{folder / CARD}: available is no list of windows: {FIX}") from None


def event_counts_of(corpus: Corpus, item_ids: np.ndarray) -> torch.Tensor:
    """How often each of the items was chosen, [V]; 0 where the log does not have it."""
    number_E = numbers(item_ids, corpus.item_ids)[corpus.sequences.items_E]
    return torch.bincount(number_E, minlength=len(item_ids) + 1)[1:]


def popularity(count_V: torch.Tensor) -> torch.Tensor:
    """Logits of items in proportion to their number of events."""
    return count_V.double().clamp(min=NEVER).log().float()


def _popularity(card: dict[str, Any], item_ids: np.ndarray, folder: Path) -> torch.Tensor | None:
    counts = card.get("events")
    if counts is None:  # of an older version
        return None
    is_count = isinstance(counts, list) and all(type(each) is int and each >= 0 for each in counts)
    require(
        is_count and len(counts) == len(item_ids),
        f"{folder / CARD}: events is no list of counts of its items: {FIX}",
    )
    return popularity(torch.tensor(counts))


def ids_array(ids: list[Any]) -> np.ndarray:
    """Text as objects: an array of text gives every id the room of the longest."""
    is_text = any(isinstance(each, str) for each in ids)
    return np.asarray(ids, dtype=object if is_text else None)


def _card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    card = read_record(path, ("backbone", "content_hash", "repeats", "item_ids"), FIX)
    items = card["item_ids"]
    is_policy = (
        isinstance(items, list)
        and len({type(item) for item in items}) == 1
        and isinstance(items[0], str | int)
        and card["repeats"] in get_args(Repeats)
        and isinstance(card["content_hash"], str)
        and isinstance(card.get("newest"), int | None)
        and isinstance(card.get("numbered_by", ""), str)
    )
    require(is_policy, f"{path} does not describe a policy: {FIX}")
    try:
        scale_in(card)
    except UserError as refusal:
        raise UserError(f"{path}: {refusal}") from None
    return card


def _source(folder: Path) -> dict[str, Any]:
    path = folder / SOURCE
    source = read_record(path, ("name", "dataset"), FIX)
    is_source = isinstance(source["name"], str) and isinstance(source["dataset"], dict)
    require(is_source, f"{path} does not describe a dataset: {FIX}")
    return source


def _backbone(described: Any, folder: Path) -> BackboneConfig:
    """The frozen dataclass of the package `backbones` that describe() wrote down. What one refuses
    of its own values is said in its words."""
    try:
        fields = {key: described_value(item, vars(backbones)) for key, item in described.items()}
        kind: Any = vars(backbones)[fields.pop("class")]
        config: BackboneConfig = kind(**fields)
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
