"""Cloning, and GRPO only where there is something to learn and the reward model can tell it.

    loss = -log pi(a | x) + c g GRPO,   g = [pi(a | x) < confident] [S >= separation]
    S: of the samples of pi_old that are not a, the share with r_hat(x, v) < r_hat(x, a)

The first factor of g is that the policy is unsure of the logged item, the second that the reward
model separates it from what the policy would show in its place. Where either fails, only cloning is
left, the KL penalty of GRPO included. Where all samples are a, S = 0. No gradient flows through g.
Limits: c = 0, or confident = 0, is behaviour cloning; confident > 1 and separation = 0 is cloning
plus GRPO everywhere.
Source: AdaGRPO, arXiv 2606.08480. We have its abstract alone: a binary gate by policy-side
difficulty and reward discriminability. Both measures, their thresholds and c are our reading.
Departures: those of GRPO; the difficulty is exact, not estimated from rollouts.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.grpo import GRPO
from recsys_posttrain.algorithms.surrogates import group_metrics
from recsys_posttrain.algorithms.weights import means
from recsys_posttrain.config import require, require_at_least
from recsys_posttrain.types import Batch, LossOutput


def separated(target_N1: Tensor, reward_NK: Tensor, other_NK: Tensor) -> Tensor:
    """The share of the other items with less than the target's reward, [N]; 0 without others."""
    below_NK = (reward_NK < target_N1) & other_NK
    return below_NK.sum(dim=1) / other_NK.sum(dim=1).clamp(min=1)


@dataclass(frozen=True)
class AdaGRPO:
    """Gated GRPO beside cloning; the defaults are ours."""

    family: ClassVar[str] = "policy gradient"
    coefficient: float = 1.0  # c
    confident: float = 0.5  # a probability
    separation: float = 0.75  # a share
    group: GRPO = GRPO()

    def __post_init__(self) -> None:
        require_at_least(self, 0, "coefficient", "confident", "separation")
        ask = f"AdaGRPO: separation={self.separation} is a share and must be at most 1."
        require(self.separation <= 1, ask)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        items_NK, reward_NK, constants = self.group.drawn(batch, actors)
        action_N1 = batch.action_N[:, None]
        target_N1 = actors.reward.score(batch, action_N1)
        share_N = separated(target_N1, reward_NK, items_NK != action_N1)

        def gate(log_prob: Tensor, share: Tensor) -> Tensor:
            is_unsure = log_prob[:, 0].exp() < self.confident
            return (is_unsure & (share >= self.separation)).to(log_prob)

        def objective(log_prob: Tensor, share: Tensor, *constants: Tensor) -> Tensor:
            of_group = self.group.objective(log_prob[:, 1:], *constants)
            return self.coefficient * gate(log_prob, share) * of_group - log_prob[:, 0]

        loss_N, log_prob_NK = actors.policy.loss_of_log_prob(
            batch, torch.cat([action_N1, items_NK], dim=1), objective, share_N, *constants
        )
        drawn_NK, clip = log_prob_NK[:, 1:], self.group.clip
        metrics = group_metrics(drawn_NK, *constants, reward_NK, clip=clip)
        metrics |= {"gate": gate(log_prob_NK, share_N), "gate/separation": share_N}
        return LossOutput(loss_N, means(metrics | {"nll": -log_prob_NK[:, 0]}))

    def after_step(self, actors: Actors) -> None:
        self.group.after_step(actors)
