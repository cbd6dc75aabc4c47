"""Where SDPO's items come from: one that is preferred and several that are rejected.

An item that is drawn twice counts twice. Draws are eligible items, as in pairs.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.pairs import WIDTH, scored_draws
from recsys_posttrain.config import require, require_at_least
from recsys_posttrain.types import Batch


class Losers(NamedTuple):
    """K items per position; a position without a rejected one has valid item ids too."""

    items_NK: Tensor  # int64, 1..V; the preferred one in column 0
    rejected_NK: Tensor  # bool: which of the others count; never the preferred item itself


LoserSource = Callable[[Batch, Actors], Losers]


@dataclass(frozen=True)
class SampledLosers:
    """The draw from pi_ref with the highest r_hat, and the draws that are more than `width`
    standard deviations of their difference below it."""

    candidates: int = 8  # draws per position
    width: float = WIDTH

    def __post_init__(self) -> None:
        require_at_least(self, 2, "candidates")
        require_at_least(self, 0, "width")

    @torch.no_grad()
    def __call__(self, batch: Batch, actors: Actors) -> Losers:
        drawn = scored_draws(batch, actors, self.candidates)
        items_NK, score_NK = (each.flip(1) for each in drawn)
        best_NK = items_NK[:, :1].expand_as(items_NK)
        bound_NK = actors.reward.least_difference(batch, best_NK, items_NK, self.width)
        is_sure_NK = score_NK[:, :1] - score_NK > bound_NK
        return Losers(items_NK, is_sure_NK & (items_NK != best_NK))


@dataclass(frozen=True)
class LoggedVersusLosers:
    """The logged item, and the draws from pi_ref whose r_hat is more than `width` standard
    deviations below the logged reward; None: all draws, whatever any reward says."""

    candidates: int = 8  # draws per position
    width: float | None = WIDTH

    def __post_init__(self) -> None:
        require_at_least(self, 1, "candidates")
        require(
            self.width is None or self.width >= 0,
            f"LoggedVersusLosers: width={self.width} must be at least 0, or None for no filter.",
        )

    @torch.no_grad()
    def __call__(self, batch: Batch, actors: Actors) -> Losers:
        drawn_NK, _ = actors.reference.sample(batch, self.candidates, actors.generator)
        logged_N1 = batch.action_N[:, None]
        rejected_NK = drawn_NK != logged_N1
        if self.width is not None:
            upper_NK = actors.reward.interval(batch, drawn_NK, self.width).upper_NK
            rejected_NK &= batch.reward_N[:, None] > upper_NK
        self_N1 = torch.zeros_like(logged_N1, dtype=torch.bool)
        return Losers(
            torch.cat([logged_N1, drawn_NK], dim=1), torch.cat([self_N1, rejected_NK], dim=1)
        )
