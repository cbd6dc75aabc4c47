"""The pretrained policy, tilted by the reward model when items are ranked.

    pi(v | n)  ~  pi_ref(v | n) exp(r_hat(n, v) / temperature)

This is the exact optimum of E_pi[r_hat] - temperature KL(pi || pi_ref), which trained methods
approximate: what a trained policy lacks against it at an equal KL was lost in training. Limits:
temperature -> infinity is `Pretrained`, temperature -> 0 is `RewardArgmax`. A product of factors,
as both its parts are.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.config import require_above_0
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.rewards.renumbered import in_numbering
from recsys_posttrain.types import Sequences
from recsys_posttrain.untrained.base import SHARP, Given, needed


@dataclass(frozen=True)
class Pretrained:
    """The policy that post-training starts from, as it is."""

    reads_rewards: ClassVar[bool] = False

    def ranker(self, given: Given) -> Ranker:
        return needed(self, "reference", given.reference)


@dataclass(frozen=True)
class RewardArgmax:
    """Items by r_hat, the highest first."""

    def ranker(self, given: Given) -> Ranker:
        reward = needed(self, "reward", given.reward)
        return _ByReward(reward, 1 / SHARP, reward.item_ids)


@dataclass(frozen=True)
class Tilt:
    """The reference, tilted by exp(r_hat / temperature)."""

    temperature: float = 0.3  # in stars

    def __post_init__(self) -> None:
        require_above_0(self, "temperature")

    def ranker(self, given: Given) -> Ranker:
        reference = needed(self, "reference", given.reference)
        return tilted(reference, needed(self, "reward", given.reward), self.temperature)


def tilted(reference: Policy, reward: RewardModel, temperature: float) -> Ranker:
    """The policy's probabilities times exp(r_hat / temperature), in the policy's numbering."""
    ids = reference.item_ids
    return _ByReward(in_numbering(reward, ids), temperature, ids, reference)


@dataclass(frozen=True, eq=False)
class _ByReward:
    reward: RewardModel
    temperature: float
    item_ids: np.ndarray | None
    reference: Policy | None = None

    def scores(
        self, histories: Sequences, times_N: Tensor | None = None, users_N: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        state_NR, factor_VR = self.reward.last_factors(histories, times_N, users_N)
        state_NR = state_NR / self.temperature
        if self.reference is None:
            return state_NR, factor_VR
        hidden_ND, embedding_VD = self.reference.scores(histories, times_N, users_N)
        return (
            torch.cat([hidden_ND, state_NR.to(hidden_ND)], dim=1),
            torch.cat([embedding_VD, factor_VR.to(embedding_VD)], dim=1),
        )
