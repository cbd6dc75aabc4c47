"""Gaussian errors: one that follows the reference's state, and one that nothing can follow."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.models.policy import Policy
from recsys_posttrain.rewards.noise.base import Drawn, Field, normals
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Batch, Split

HIDDEN_WIDTH = 32  # errors of two histories correlate by chance alone, +-1 / sqrt(this)
HIDDEN_ROWS = 2**12  # two histories share all their errors once in this many


@dataclass(frozen=True)
class Gaussian(Drawn):
    """e(n, v) = level (h_n / |h_n|) . g_v with h_n the reference's state and g_v ~ N(0, I).

    level: standard deviation in reward units. For each history the errors of the items are
    independent N(0, level^2); for each item those of two histories correlate by the cosine of
    their states, so that a policy can follow them. Drawn once, or at every step if resampled.
    """

    def field(self, data: Split, reference: Policy, seed: int) -> Field:
        item_embedding_VD = reference.item_embedding_VD
        factor_VD = self.level * normals(seed, "gaussian", *item_embedding_VD.shape)

        def columns(batch: Batch) -> tuple[Tensor, Tensor]:
            hidden_ND = reference.hidden_states(batch).to(batch.reward_N)
            return torch.nn.functional.normalize(hidden_ND, dim=1), factor_VD.to(hidden_ND)

        return columns


@dataclass(frozen=True)
class Independent(Drawn):
    """The control: an error of its own for every (set of visible items, item).

    level: standard deviation in reward units. The state is a unit vector that the history's hash
    picks from a table, so similar histories share nothing and the error averages out. Drawn once,
    or at every step if resampled. The hash is a sum of random keys (A. Zobrist, 1970).
    """

    def field(self, data: Split, reference: Policy, seed: int) -> Field:
        items = data.corpus.num_items
        factor_VQ = self.level * normals(seed, "independent, items", items, HIDDEN_WIDTH)
        table_RQ = torch.nn.functional.normalize(
            normals(seed, "independent, histories", HIDDEN_ROWS, HIDDEN_WIDTH), dim=1
        )
        generator = np.random.default_rng(derived_seed(seed, "independent, keys"))
        key_V1 = torch.from_numpy(generator.integers(0, HIDDEN_ROWS, items + 1))

        def columns(batch: Batch) -> tuple[Tensor, Tensor]:
            hash_BT = key_V1.to(batch.history_BT.device)[batch.history_BT].cumsum(dim=1)
            row_N = batch.real(hash_BT) % HIDDEN_ROWS
            return table_RQ.to(batch.reward_N)[row_N], factor_VQ.to(batch.reward_N)

        return columns
