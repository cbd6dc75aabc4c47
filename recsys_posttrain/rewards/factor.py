"""A reward model that knows people: item factors, and a user's state in closed form.

    r_hat(x, v) = b_v + l_v . E[z | x]

b_v, l_v and the noise of each item are learned by rewards/factor_fit.py. E[z | x] is the mean of
the normal posterior of the user's taste z given the rewards before the action; an event counts
`forgetting` times as much as the one after it. So there are no user ids, and r_hat is one product.

Q = R + 1 entries of an item's row (b_v, l_v); X = Q (Q + 1) / 2 of a symmetric matrix [Q, Q], of
which the lower half is kept.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from recsys_posttrain.config import require, require_counts
from recsys_posttrain.files import write_text
from recsys_posttrain.fitted import Fitted
from recsys_posttrain.models.reward_model import RewardData, RewardModel
from recsys_posttrain.plan import METRICS
from recsys_posttrain.rewards.factor_fit import fit_factors
from recsys_posttrain.types import Batch

POSITIONS_AT_A_TIME = 2**12  # of [positions, K, Q, Q]


class FactorModule(RewardModel):
    """The model of a RewardFactors; the formula is at the top of this file."""

    mean_VQ: Tensor
    covariance_VX: Tensor
    noise_V: Tensor  # variances of a reward around its mean, stars^2

    def __init__(self, config: "RewardFactors", num_items: int) -> None:
        super().__init__()
        self.max_length, self.forgetting = config.max_length, config.forgetting
        width = config.rank + 1
        self.register_buffer("mean_VQ", torch.zeros(num_items, width))
        self.register_buffer("covariance_VX", torch.zeros(num_items, width * (width + 1) // 2))
        self.register_buffer("noise_V", torch.ones(num_items))

    def member_factors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        state_NQ = torch.cat([state_CQ for state_CQ, _ in self._posteriors(batch)])
        return state_NQ[None], self.mean_VQ[None]

    def variance(self, batch: Batch, items_NK: Tensor) -> Tensor:
        """Of the expected reward given what was learned and seen; without an event's noise."""
        index_NK = items_NK - 1
        return self._variance(
            batch, lambda rows: (self.mean_VQ[index_NK[rows]], self.covariance_VX[index_NK[rows]])
        )

    def difference_spread(self, batch: Batch, first_NK: Tensor, second_NK: Tensor) -> Tensor:
        """By the posterior, in which the rows of two items are independent."""

        def rows_of(rows: slice) -> tuple[Tensor, Tensor]:
            first, second = first_NK[rows] - 1, second_NK[rows] - 1
            differ = (first != second)[..., None]
            covariance_CKX = self.covariance_VX[first] + self.covariance_VX[second]
            return self.mean_VQ[first] - self.mean_VQ[second], covariance_CKX * differ

        return self._variance(batch, rows_of).sqrt()

    def _variance(self, batch: Batch, rows_of: Callable[[slice], tuple[Tensor, Tensor]]) -> Tensor:
        """The variance of w . (1, z), [N, K], for independent rows w and tastes z: with C the
        covariance of w and P that of (1, z), the sum of (w w' + C) * P, and (1, z)' C (1, z).

        rows_of: the rows' means [C, K, Q] and covariances [C, K, X] at some positions.
        """
        found, width = [], self.covariance_VX.shape[1]
        moments_NY = self._moments(batch)
        for start in range(0, len(moments_NY), POSITIONS_AT_A_TIME):
            rows = slice(start, start + POSITIONS_AT_A_TIME)
            mean_CKQ, covariance_CKX = rows_of(rows)
            spread_CX, state_CQ = moments_NY[rows].tensor_split([width], dim=1)
            state_CX = _lower(_twice_off_diagonal(_outer(state_CQ)))
            found.append(
                torch.einsum("ckx,cx->ck", _lower(_outer(mean_CKQ)), spread_CX)
                + torch.einsum("ckx,cx->ck", covariance_CKX, spread_CX + state_CX)
            )
        return torch.cat(found).clamp(min=0)

    def _moments(self, batch: Batch) -> Tensor:
        """Of the posterior of (1, z) at each position the lower half of the covariance, with what
        is off its diagonal counted twice, and the mean, [N, X + Q]; cached."""

        def of_batch(batch: Batch) -> Tensor:
            both = [
                torch.cat([_lower(_twice_off_diagonal(spread_CQQ)), state_CQ], dim=1)
                for state_CQ, spread_CQQ in self._posteriors(batch)
            ]
            return torch.cat(both)

        if not self._cache.holds(self.covariance_VX.shape[1] + self.mean_VQ.shape[1]):
            return of_batch(batch)
        return self._cache.get("moments", batch, of_batch, self.mean_VQ)

    @torch.no_grad()
    def _posteriors(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """Mean [C, Q] and covariance [C, Q, Q] of (1, z) at each position, by chunks of positions.

        Every event adds E[w w'] / s to the precision and (w r - E[w w'] (1, 0, ...)) / s to the
        pull, where w is the item's row and s its noise_V; the prior of z is N(0, I). Column 0 of
        both is left unread.
        """
        index_BT = (batch.history_BT - 1).clamp(min=0)  # padding comes after all that is read
        row_BTQ = self.mean_VQ[index_BT]
        second_BTX = _lower(_outer(row_BTQ)) + self.covariance_VX[index_BT]
        event_BTX = torch.cat([second_BTX, row_BTQ * batch.history_rewards_BT[..., None]], dim=2)
        sum_BTX = event_BTX / self.noise_V[index_BT][..., None]
        for step in range(1, sum_BTX.shape[1]):
            sum_BTX[:, step].add_(sum_BTX[:, step - 1], alpha=self.forgetting)
        return [self._solved(sum_CX) for sum_CX in batch.real(sum_BTX).split(POSITIONS_AT_A_TIME)]

    def _solved(self, sum_CX: Tensor) -> tuple[Tensor, Tensor]:
        width = self.mean_VQ.shape[1]
        precision_CQQ = _symmetric(sum_CX[:, :-width], width)
        pull_CR = sum_CX[:, 1 - width :] - precision_CQQ[:, 0, 1:]
        identity_RR = torch.eye(width - 1).to(sum_CX)
        half_CRR = torch.linalg.cholesky(precision_CQQ[:, 1:, 1:] + identity_RR)
        spread_CRR = torch.cholesky_inverse(half_CRR)
        mean_CR = torch.einsum("crs,cs->cr", spread_CRR, pull_CR)
        return (
            torch.nn.functional.pad(mean_CR, (1, 0), value=1.0),
            torch.nn.functional.pad(spread_CRR, (1, 0, 1, 0)),
        )


def _outer(rows: Tensor) -> Tensor:
    return rows[..., :, None] * rows[..., None, :]


def _lower(matrix_QQ: Tensor) -> Tensor:
    """The lower half of symmetric matrices, [..., Q, Q] -> [..., X]."""
    row_X, column_X = torch.tril_indices(*matrix_QQ.shape[-2:], device=matrix_QQ.device)
    return matrix_QQ[..., row_X, column_X]


def _symmetric(half_CX: Tensor, width: int) -> Tensor:
    row_X, column_X = torch.tril_indices(width, width, device=half_CX.device)
    place_QQ = half_CX.new_zeros(width, width, dtype=torch.int64)
    place_QQ[row_X, column_X] = place_QQ[column_X, row_X] = torch.arange(len(row_X)).to(row_X)
    return half_CX[:, place_QQ]


def _twice_off_diagonal(matrix_CQQ: Tensor) -> Tensor:
    """So that sums over the lower half are sums over all."""
    return 2 * matrix_CQQ - torch.diag_embed(matrix_CQQ.diagonal(dim1=1, dim2=2))


@dataclass(frozen=True)
class RewardFactors:
    """Settings of the factor model.

    rank: R, the number of a user's tastes.
    rounds: of variational EM.
    forgetting: the factor on an event's weight for each event after it; 1: all count alike.
    max_length: the latest events that a state is computed from; training reads all of them.
    held_out: share of users kept from training, half of them for the quality table; the other half,
        on which other models stop early, this one does not use.
    """

    rank: int = 12
    rounds: int = 30
    forgetting: float = 0.99
    max_length: int = 200
    held_out: float = 0.2

    def __post_init__(self) -> None:
        require_counts("RewardFactors", 1, 200, rank=self.rank)
        require_counts("RewardFactors", 1, 10_000, rounds=self.rounds, max_length=self.max_length)
        require(
            0 < self.forgetting <= 1,
            f"RewardFactors: forgetting={self.forgetting} must be above 0, and at most 1.",
        )
        require(
            0 < self.held_out < 1,
            f"RewardFactors: held_out={self.held_out} must be a share between 0 and 1.",
        )

    def build(self, num_items: int) -> FactorModule:
        """A model to load weights into."""
        return FactorModule(self, num_items)

    def train(
        self, data: RewardData, seed: int, folder: Path | None = None, device: str = "cpu"
    ) -> tuple[FactorModule, Fitted]:
        """On the CPU, with one thread: seconds for a million events. No validation stops it."""
        factors = fit_factors(data.fit, data.num_items, self.rank, self.rounds, seed)
        model = self.build(data.num_items)
        model.mean_VQ.copy_(torch.from_numpy(factors.mean_VQ))
        model.covariance_VX.copy_(_lower(torch.from_numpy(factors.covariance_VQQ)))
        model.noise_V.copy_(torch.from_numpy(factors.noise_V))
        lines = [
            json.dumps({"step": n + 1, "bound": each}) for n, each in enumerate(factors.bounds)
        ]
        if folder is not None:
            write_text(folder / METRICS, "".join(f"{line}\n" for line in lines))
        return model, Fitted(self.rounds, self.rounds, None, tuple(lines))
