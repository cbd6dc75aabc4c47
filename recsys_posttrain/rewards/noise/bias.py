"""Errors of an item, of a user, and of popularity."""

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys_posttrain.models.policy import Policy
from recsys_posttrain.rewards.noise.base import Drawn, Field, Level, normals, ones
from recsys_posttrain.types import Batch, Split


@dataclass(frozen=True)
class ItemBias(Drawn):
    """e(n, v) = level z_v, z_v ~ N(0, 1). level: standard deviation over items, in reward units.
    Drawn once, or at every step if resampled."""

    def field(self, data: Split, reference: Policy, seed: int) -> Field:
        return _of_items(self.level * normals(seed, "item bias", data.corpus.num_items))


@dataclass(frozen=True)
class PopularityBias(Level):
    """e(n, v) = level z_v with z_v the item's log(1 + training events), standardised over items:
    popular items are overrated. level: standard deviation over items, in reward units. Nothing is
    drawn; all items equally popular is no error."""

    def field(self, data: Split, reference: Policy, seed: int) -> Field:
        items_E = data.train.items_E - 1
        popularity_V = torch.bincount(items_E, minlength=data.corpus.num_items).double().log1p()
        if (popularity_V == popularity_V[0]).all():
            return _of_items(torch.zeros_like(popularity_V))
        centred_V = popularity_V - popularity_V.mean()
        return _of_items(self.level * centred_V / centred_V.square().mean().sqrt())


@dataclass(frozen=True)
class UserBias(Drawn):
    """e(n, v) = level z_u for user u, z_u ~ N(0, 1): the same for all items.

    level: standard deviation over users, in reward units. It belongs to the user's index, not to
    the history: histories are cut to a window, so no part of them is the same in training and in
    evaluation. Drawn once, or at every step if resampled.
    """

    def field(self, data: Split, reference: Policy, seed: int) -> Field:
        bias_U = self.level * normals(seed, "user bias", len(data.train))
        one_V1 = torch.ones(data.corpus.num_items, 1)

        def columns(batch: Batch) -> tuple[Tensor, Tensor]:
            state_N = bias_U.to(batch.reward_N)[batch.user_N]
            return state_N[:, None], one_V1.to(state_N)

        return columns


def _of_items(bias_V: Tensor) -> Field:
    def columns(batch: Batch) -> tuple[Tensor, Tensor]:
        state_N1 = ones(batch)
        return state_N1, bias_V[:, None].to(state_N1)

    return columns
