"""Where DPO's pairs come from: candidates of pi_ref that the reward ensemble is sure about."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.config import require_at_least
from recsys_posttrain.models.reward_model import Interval
from recsys_posttrain.types import Batch


class Pairs(NamedTuple):
    """One pair per position; a position whose pair is not kept has valid item ids too."""

    chosen_N: Tensor  # int64, 1..V
    rejected_N: Tensor  # int64, 1..V
    kept_N: Tensor  # bool: whether the pair counts in the loss


PairSource = Callable[[Batch, Actors], Pairs]


def separated_pair(lower_NK: Tensor, upper_NK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The index of the highest lower bound, that of the lowest upper bound, and whether the first
    candidate is surely better: its lower bound is above the other's upper bound. Each [N]."""
    best_N, worst_N = lower_NK.argmax(dim=1), upper_NK.argmin(dim=1)
    return best_N, worst_N, _pick(lower_NK, best_N) > _pick(upper_NK, worst_N)


def _pick(values_NK: Tensor, index_N: Tensor) -> Tensor:
    return values_NK.gather(1, index_N[:, None]).squeeze(1)


def _draw(batch: Batch, actors: Actors, count: int, width: float) -> tuple[Tensor, Interval]:
    """Items drawn from pi_ref, [N, count], and the ensemble's interval for each."""
    items_NK, _ = actors.reference.sample(batch, count, actors.generator)
    return items_NK, actors.reward.interval(batch, items_NK, width)


@dataclass(frozen=True)
class EnsemblePairs:
    """Pairs of two draws from pi_ref, kept where the ensemble's intervals do not overlap."""

    candidates: int = 8  # draws per position
    width: float = 1.0  # of an interval: standard deviations on each side of the mean

    def __post_init__(self) -> None:
        require_at_least(self, 2, "candidates")
        require_at_least(self, 0, "width")

    @torch.no_grad()
    def __call__(self, batch: Batch, actors: Actors) -> Pairs:
        items_NK, (_, lower_NK, upper_NK) = _draw(batch, actors, self.candidates, self.width)
        best_N, worst_N, separated_N = separated_pair(lower_NK, upper_NK)
        return Pairs(_pick(items_NK, best_N), _pick(items_NK, worst_N), separated_N)


@dataclass(frozen=True)
class LoggedVersusSampled:
    """Pairs of the logged item and the draw from pi_ref with the lowest upper bound; kept where
    the logged reward is above that bound."""

    candidates: int = 8  # draws per position
    width: float = 1.0  # as in EnsemblePairs

    def __post_init__(self) -> None:
        require_at_least(self, 1, "candidates")
        require_at_least(self, 0, "width")

    @torch.no_grad()
    def __call__(self, batch: Batch, actors: Actors) -> Pairs:
        items_NK, (_, _, upper_NK) = _draw(batch, actors, self.candidates, self.width)
        worst_N = upper_NK.argmin(dim=1)
        rejected_N = _pick(items_NK, worst_N)
        is_better_N = batch.reward_N > _pick(upper_NK, worst_N)
        return Pairs(batch.action_N, rejected_N, is_better_N & (rejected_N != batch.action_N))
