"""Where the pairs of preference methods come from: two items that a reward model is sure to order.

Draws are eligible items (`Batch.excluded`), so no pair holds one that the user has had before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.config import require_at_least
from recsys_posttrain.types import Batch

# In standard deviations. With RewardFactors 95% of the pairs are kept at 1 on ML-100K, 65% where it
# learned from half of its users, 91% on Jester, 35% on semi-ml-100k; 2.5 keeps 29, 1, 17 and .02%
# of them. RewardEnsemble is sure of nearly all: give 5 or more.
WIDTH = 1.0


class Pairs(NamedTuple):
    """One pair per position; a position whose pair is not kept has valid item ids too."""

    chosen_N: Tensor  # int64, 1..V
    rejected_N: Tensor  # int64, 1..V
    kept_N: Tensor  # bool: whether the pair counts in the loss; never for an item with itself


PairSource = Callable[[Batch, Actors], Pairs]


def scored_draws(batch: Batch, actors: Actors, count: int) -> tuple[Tensor, Tensor]:
    """`count` draws from pi_ref per position, from the lowest r_hat to the highest, and r_hat."""
    items_NK, _ = actors.reference.sample(batch, count, actors.generator)
    score_NK, order_NK = actors.reward.score(batch, items_NK).sort(dim=1)
    return items_NK.gather(1, order_NK), score_NK


@dataclass(frozen=True)
class SampledPairs:
    """Pairs of the draws from pi_ref with the highest and the lowest r_hat, kept where they are
    more than `width` standard deviations of their difference apart; shared errors cancel in it."""

    candidates: int = 8  # draws per position
    width: float = WIDTH

    def __post_init__(self) -> None:
        require_at_least(self, 2, "candidates")
        require_at_least(self, 0, "width")

    @torch.no_grad()
    def __call__(self, batch: Batch, actors: Actors) -> Pairs:
        items_NK, score_NK = scored_draws(batch, actors, self.candidates)
        chosen_N, rejected_N = items_NK[:, -1], items_NK[:, 0]
        both = items_NK[:, -1:], items_NK[:, :1]
        bound_N1 = actors.reward.least_difference(batch, *both, self.width)
        is_sure_N = score_NK[:, -1] - score_NK[:, 0] > bound_N1[:, 0]
        return Pairs(chosen_N, rejected_N, is_sure_N & (chosen_N != rejected_N))


@dataclass(frozen=True)
class LoggedVersusSampled:
    """Pairs of the logged item and the draw from pi_ref with the lowest r_hat; kept where the
    logged reward is more than `width` standard deviations of r_hat above it."""

    candidates: int = 8  # draws per position
    width: float = WIDTH

    def __post_init__(self) -> None:
        require_at_least(self, 1, "candidates")
        require_at_least(self, 0, "width")

    @torch.no_grad()
    def __call__(self, batch: Batch, actors: Actors) -> Pairs:
        rejected_N1 = scored_draws(batch, actors, self.candidates)[0][:, :1]
        upper_N1 = actors.reward.interval(batch, rejected_N1, self.width).upper_NK
        chosen_N, rejected_N = batch.action_N, rejected_N1.squeeze(1)
        is_better_N = batch.reward_N > upper_N1.squeeze(1)
        return Pairs(chosen_N, rejected_N, is_better_N & (chosen_N != rejected_N))
