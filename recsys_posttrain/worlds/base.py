"""A world: a dataset whose true rewards are known, for every user and every item.

A world is a frozen dataclass with the three members of a `Dataset` (data/prepare.py), so that its
log goes the way of any other log, and `truth()`. How probable each choice of the log was is a fact
of the log: the column `propensity` of `Interactions.frame`. Only evaluation may ask for the truth;
training and model selection work on the log (tests/test_truth_is_sealed.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.errors import UserError
from recsys_posttrain.types import Corpus


@dataclass(frozen=True, eq=False)
class Truth:
    """The expected reward of every choice, r*(u, v) = state_u . factor_v, in the log's units.

    user_ids, item_ids: the ids of rows and columns, as in Interactions.frame.
    """

    state_UR: Tensor  # float32
    factor_VR: Tensor  # float32
    user_ids: np.ndarray
    item_ids: np.ndarray

    def aligned(self, corpus: Corpus) -> Truth:
        """The same truth with the users and items of a corpus, in its order (row v - 1 is item v).

        Raises: UserError when the corpus has a user or an item that this world does not know.
        """
        return Truth(
            self.state_UR[_places(self.user_ids, corpus.user_ids, f"{corpus.name}: user")],
            self.factor_VR[_places(self.item_ids, corpus.item_ids, f"{corpus.name}: item")],
            corpus.user_ids,
            corpus.item_ids,
        )

    def rewards(self, users_N: Tensor) -> Tensor:
        """r* of all items for some users (rows), [N, V]."""
        return self.state_UR[users_N] @ self.factor_VR.T

    def rewards_of(self, users_N: Tensor, items_NK: Tensor) -> Tensor:
        """r* of given items (ids 1..V, aligned), [N, K]; NaN for item 0, which stands for none."""
        factor_NKR = self.factor_VR[(items_NK - 1).clamp(min=0)]
        reward_NK = torch.einsum("nr,nkr->nk", self.state_UR[users_N], factor_NKR)
        return reward_NK.masked_fill(items_NK == 0, torch.nan)


@runtime_checkable
class World(Dataset, Protocol):
    """A `Dataset` with a truth."""

    def truth(self) -> Truth: ...


def truth_of(dataset: Dataset, corpus: Corpus) -> Truth:
    """The truth of a world, aligned to the corpus that was prepared from its log.

    Raises: UserError when the dataset is no world, or the corpus is of another one.
    """
    return world(dataset).truth().aligned(corpus)


def world(dataset: Dataset) -> World:
    """The dataset itself, where it is a world. Raises: UserError where it is not."""
    if not isinstance(dataset, World):
        raise UserError(
            f"{dataset.name} has no true rewards: only worlds know them; give one, such as jester."
        )
    return dataset


def _places(known: np.ndarray, wanted: np.ndarray, what: str) -> Tensor:
    order = known.argsort(kind="stable")
    place = np.searchsorted(known[order], wanted).clip(max=len(known) - 1)
    found = order[place]
    missing = known[found] != wanted
    if missing.any():
        raise UserError(
            f"{what} {wanted[missing][0]!r} is not in this world; give the corpus "
            "that was prepared from its own log."
        )
    return torch.from_numpy(found)
