"""Titles that appear after pretraining: a policy with item features takes their vectors."""

from __future__ import annotations

import hashlib
from copy import deepcopy
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain.config import require, require_kind
from recsys_posttrain.data.encode import as_text, numbers, some
from recsys_posttrain.data.item_vectors import item_vectors
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.files import read_record, write_json
from recsys_posttrain.models.checkpoint import (
    CARD,
    FIX,
    SOURCE,
    WEIGHTS,
    SavedPolicy,
    ids_array,
    popularity,
)
from recsys_posttrain.models.features import FeatureEmbedding
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.tensors import save_tensors


@overload
def add_items(policy: Policy, features: str | Path | pd.DataFrame) -> Policy: ...
@overload
def add_items(policy: SavedPolicy, features: str | Path | pd.DataFrame) -> SavedPolicy: ...
def add_items(
    policy: Policy | SavedPolicy, features: str | Path | pd.DataFrame
) -> Policy | SavedPolicy:
    """A copy of a policy that knows these titles too: it scores, evaluates and recommends them.

    policy: pretrained with `ItemFeatures`. features: of the titles, as those: a .parquet file or a
        data frame of item_id beside a column of lists, or beside columns of numbers. Titles that
        the policy knows already stay as they are, and are counted in a line.

    Raises: UserError where the policy reads no features, or others; or nothing is new.
    """
    if isinstance(policy, SavedPolicy):
        popularity_V, grown = policy.popularity_V, FrozenPolicy(_grown(policy.policy, features))
        ids = grown.item_ids
        assert ids is not None
        if popularity_V is not None:  # nobody has chosen the new ones yet
            none_V = torch.zeros(len(ids) - len(popularity_V))
            popularity_V = torch.cat([popularity_V, popularity(none_V)])
        # No reward model has this numbering.
        number = f"{policy.numbered_by} {as_text(ids)}".encode()
        return policy._replace(
            policy=grown,
            item_ids=ids,
            popularity_V=popularity_V,
            numbered_by=hashlib.sha256(number).hexdigest(),
        )
    return _grown(policy, features)


def with_own_vectors(policy: Policy, items_E: Tensor) -> tuple[Policy, int]:
    """A copy of a policy in which those of the items that stand on their features have vectors of
    their own, which start there; and how many they are. The policy itself where none does."""
    table = policy.backbone.item_embedding
    if not isinstance(table, FeatureEmbedding) or not table.is_new[items_E].any():
        return policy, 0
    backbone = deepcopy(policy.backbone)
    count = backbone.item_embedding.settle(items_E.to(table.is_new.device))  # type: ignore[union-attr,operator]
    return Policy(backbone, policy.item_ids), count


def save_grown(before: Path, folder: Path, saved: SavedPolicy) -> None:
    """Writes a policy that `add_items` made of the one in `before`: all that is known of its log
    stays, and nobody has chosen the new titles."""
    card = read_record(before / CARD, ("item_ids",), FIX)
    new = len(saved.item_ids) - len(card["item_ids"])
    card |= {"item_ids": saved.item_ids.tolist(), "numbered_by": saved.numbered_by}
    if "events" in card:  # an older version does not count them
        card["events"] += [0] * new
    save_tensors(folder / WEIGHTS, saved.policy.state_dict())
    write_json(folder / CARD, card)
    write_json(folder / SOURCE, read_record(before / SOURCE, ("name", "dataset"), FIX))


def _grown(policy: Policy, features: str | Path | pd.DataFrame) -> Policy:
    require_kind("policy", policy, "backbone", "give what rp.pretrain returns first")
    table = policy.backbone.item_embedding
    require(
        isinstance(table, FeatureEmbedding),
        "the policy reads no item features, so a title that it was not trained on has no vector; "
        "pretrain one with item features (run --item-features FILE, or rp.pretrain(data, "
        "rp.ItemFeatures(FILE))).",
    )
    assert isinstance(table, FeatureEmbedding)
    assert policy.item_ids is not None
    vectors, label = item_vectors(features), "the data frame of items"
    label = label if isinstance(features, pd.DataFrame) else str(features)
    width = len(table.mean_F)
    require(
        vectors.width == width,
        f"{label} has vectors of {vectors.width:,} numbers and the policy was trained with "
        f"{width:,}; give vectors of the same model.",
    )
    is_new_I = (numbers(policy.item_ids, vectors.ids)[1:] == 0).numpy()
    require(
        is_new_I.any(),
        f"{label}: the policy knows all {counted(len(is_new_I), 'item')} already; give new ones.",
    )
    new_ids = vectors.ids[is_new_I]
    told = f"{label}: {counted(len(new_ids), 'new item')} ({some(as_text(new_ids))})"
    known = int((~is_new_I).sum())
    note(told + (f"; {known:,} that the policy knows stay as they are" if known else ""))
    backbone = deepcopy(policy.backbone)
    backbone.item_embedding = table.with_new(torch.from_numpy(vectors.vector_IF[is_new_I]))
    return Policy(backbone, _joined(policy.item_ids, new_ids)).train(policy.training)


def _joined(ids: np.ndarray, new_ids: np.ndarray) -> np.ndarray:
    """Of one kind: text, unless all are numbers."""
    both = ids.tolist() + new_ids.tolist()
    return ids_array(both if len({type(each) for each in both}) == 1 else list(map(str, both)))
