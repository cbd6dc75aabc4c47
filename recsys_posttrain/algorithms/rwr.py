"""Reward-weighted regression, linear: clone each logged item in proportion to its raw reward.

    loss = -w log pi(a | x),   w = r / mean of r over the training data

Limits: equal rewards are behaviour cloning; a reward of 0 leaves the item out.
Source: the reward-weighted behaviour cloning that is the reference row of "Post-Training Generative
Recommenders with Advantage-Weighted Supervised Finetuning" (Netflix Technology Blog, October 2025).
Its ancestor is Local Policy Improvement, arXiv 2212.11431: for rewards of at least 0 the value of
pi is at least E[r (1 + log pi(a) - log b(a))] over the log of b, which this loss raises.
Departures: the blog gives no formula; raw rewards and the division by the mean of the data (not of
the batch: a position's loss must not depend on its neighbours) are ours. Rewards count from the
zero of the log's scale (reward_scale.py). A reward below zero pushes its item down, and the loss is
then unbounded below: lower the zero or use ExpRSFT.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import Signal, observed_reward
from recsys_posttrain.algorithms.weights import weight_metrics
from recsys_posttrain.config import require
from recsys_posttrain.types import Batch, LossOutput


def linear_weight(reward: Tensor, mean_reward: Tensor) -> Tensor:
    """The weight reward / mean_reward, element by element."""
    return reward / mean_reward


@dataclass(frozen=True)
class RWR:
    """Linearly reward-weighted cloning."""

    family: ClassVar[str] = "weighted likelihood"
    reward: Signal = observed_reward  # r; the mean is always that of the logged rewards

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        mean = actors.log.rewards_E.mean()
        require(
            mean > 0,
            f"RWR: the mean logged reward is {mean:.4g} stars from its zero, and weights need one "
            "above 0; give a lower --reward-zero or use ExpRSFT.",
        )
        reward_N = self.reward(batch, actors)
        weight_N = linear_weight(reward_N, mean.to(reward_N))
        return LossOutput(actors.policy.weighted_nll(batch, weight_N), weight_metrics(weight_N))
