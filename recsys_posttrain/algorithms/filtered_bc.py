"""Behaviour cloning of the items that were liked, and of no others.

    loss = -log pi(a | x) where r >= threshold; the mean is over these positions

Limits: a threshold at or below the lowest reward is behaviour cloning. As ExpRSFT with its
temperature -> 0, it clones only the best where the threshold is the largest reward.
Source: filtered behaviour cloning ("%BC" of Decision Transformer, arXiv 2106.01345, which filters
whole trajectories by their return); for recommenders the likelihood of items rated 4 or more.
Departures: single items are filtered by their own reward, and stay in the histories of later ones.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import Signal, observed_reward
from recsys_posttrain.config import require
from recsys_posttrain.types import Batch, LossOutput


def is_kept(reward: Tensor, threshold: float) -> Tensor:
    """Whether the reward reaches the threshold, element by element."""
    return reward >= threshold


@dataclass(frozen=True)
class FilteredBC:
    """Cloning of the logged items with a reward of at least `threshold`."""

    family: ClassVar[str] = "weighted likelihood"
    threshold: float | None = None  # in stars; None: from where on the log's scale says liked
    reward: Signal = observed_reward  # r; the largest is always that of the logged rewards

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        threshold = actors.log.liked if self.threshold is None else self.threshold
        largest = float(actors.log.rewards_E.max())
        require(
            threshold <= largest,
            f"FilteredBC: no logged reward reaches the threshold of {threshold:g} stars (the "
            f"largest is {largest:g}); give a lower threshold or a lower --liked.",
        )
        kept_N = is_kept(self.reward(batch, actors), threshold)
        loss_N = actors.policy.weighted_nll(batch, kept_N.to(batch.reward_N))
        return LossOutput(loss_N, {"filter/kept": kept_N.float().mean()}, kept_N)
