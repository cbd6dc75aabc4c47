"""Methods that know no person: one order of the items for everyone, or a random one for each."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.config import require_at_least
from recsys_posttrain.data.popularity import event_counts
from recsys_posttrain.evaluation.expectation import mean_where_shown
from recsys_posttrain.models.ranker import Ranker, SameForAll
from recsys_posttrain.rewards.baselines import damped_means
from recsys_posttrain.rewards.renumbered import in_numbering
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Sequences
from recsys_posttrain.untrained.base import SHARP, Given, needed

NEVER = 1e-9  # events of an item without any: its weight is next to nothing
WIDTH = 32  # of random states
FLAT = 2.0**-20  # of their logits: the order is all that they say


@dataclass(frozen=True)
class Popularity:
    """Items in proportion to their number of events before the targets."""

    reads_rewards: ClassVar[bool] = False

    def ranker(self, given: Given) -> Ranker:
        count_V = event_counts(given.data, given.targets).double()
        return SameForAll(count_V.clamp(min=NEVER).log(), given.data.corpus.item_ids)


@dataclass(frozen=True)
class ItemMean:
    """Items by the damped mean of their logged rewards, the highest first.

    damping: events at the mean of the log that each item is given; None: the number that predicts
        the log best, for users of other folds (rewards/baselines.py).
    """

    reads_log: ClassVar[bool] = True
    damping: float | None = None

    def __post_init__(self) -> None:
        if self.damping is not None:
            require_at_least(self, 0, "damping")

    def ranker(self, given: Given) -> Ranker:
        log = given.data.train if given.log is None else given.log
        corpus = given.data.corpus
        mean_V = torch.from_numpy(damped_means(log, corpus.num_items, self.damping))
        return SameForAll(SHARP * mean_V, corpus.item_ids)


@dataclass(frozen=True)
class BestFixedList:
    """Items by the mean of r_hat over the targets at which they may be shown: of the true reward,
    what the same order for everyone can reach."""

    def ranker(self, given: Given) -> Ranker:
        corpus = given.data.corpus
        targets = given.data.test if given.targets is None else given.targets
        reward = in_numbering(needed(self, "reward", given.reward), corpus.item_ids)
        state_NR, factor_VR = reward.last_factors(targets.history, targets.times_N, targets.users_N)
        mean_V = mean_where_shown(state_NR, factor_VR, targets)
        return SameForAll(SHARP * mean_V, corpus.item_ids)


@dataclass(frozen=True)
class Uniform:
    """Every item alike, in a random order for each history."""

    reads_rewards: ClassVar[bool] = False
    seed: int = 0

    def ranker(self, given: Given) -> Ranker:
        corpus = given.data.corpus
        factor_VR = FLAT * _directions(self.seed, "items", corpus.num_items)
        return _RandomOrder(self.seed, factor_VR, corpus.item_ids)


@dataclass(frozen=True, eq=False)
class _RandomOrder:
    seed: int
    factor_VR: Tensor
    item_ids: np.ndarray

    def scores(
        self, histories: Sequences, times_N: Tensor | None = None, users_N: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return _directions(self.seed, "histories", len(histories)), self.factor_VR


def _directions(seed: int, name: str, rows: int) -> Tensor:
    """Random points of the unit sphere, [rows, WIDTH]: none has a higher product than another with
    a random direction."""
    generator = torch.Generator().manual_seed(derived_seed(seed, f"uniform {name}"))
    return torch.nn.functional.normalize(torch.randn(rows, WIDTH, generator=generator), dim=1)
