"""Group-relative policy optimisation: samples of pi_old, each against the mean of its group.

    loss = mean over G items a_i ~ pi_old of surrogate(pi, pi_old, A_i) + c k3_i
    A_i = (R_i - mean R) / (sd R + 1e-4)   or   R_i - mean R,   R = r_hat(x, a_i)
    k3_i = pi_ref / pi - log(pi_ref / pi) - 1,   pi = pi(a_i | x)

pi_old is the policy as of the last refresh, at first the reference. Without the division
(`scale_rewards`) this is Dr. GRPO; with it the smallest differences count as much as the largest,
those that r_hat has from noise too. The surrogate is PPO's, ECPO's or GBPO's (surrogates.py).
Limits: at pi = pi_old, not divided, the expected gradient is that of -(1 - 1/G) E_pi[r_hat] +
c KL(pi_ref || pi), as the mean holds R_i; equal rewards have no advantage (`frac_reward_zero_std`).
Source: GRPO, arXiv 2402.03300, (3) and (4); Dr. GRPO, arXiv 2503.20783. Departures: one item for an
answer, so no length; new samples at every step; pi_old lags; k3 straight above e^10 = pi_ref / pi.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.clipped import check_clipped, refresh
from recsys_posttrain.algorithms.surrogates import (
    ZERO,
    Surrogate,
    forward_kl,
    group_metrics,
    ppo_surrogate,
)
from recsys_posttrain.algorithms.weights import means
from recsys_posttrain.config import require_at_least
from recsys_posttrain.types import Batch, LossOutput

Constants = tuple[Tensor, Tensor, Tensor]  # log pi_old, log pi_ref and A, each [N, K]


def group_advantage(reward_NK: Tensor, scale: bool) -> Tensor:
    """The reward less the mean of its group, [N, K]; scale: over its standard deviation."""
    centred_NK = reward_NK - reward_NK.mean(dim=1, keepdim=True)
    return centred_NK / (reward_NK.std(dim=1, keepdim=True) + ZERO) if scale else centred_NK


@dataclass(frozen=True)
class GRPO:
    """Group-relative policy optimisation; apart from the usual clip, the defaults are ours."""

    family: ClassVar[str] = "policy gradient"
    samples: int = 8  # G, items per position
    scale_rewards: bool = True  # False: Dr. GRPO
    surrogate: Surrogate = ppo_surrogate
    clip: float = 0.2  # e
    kl_coefficient: float = 1.0  # c
    refresh_every: int = 8  # optimiser steps between copies of the policy into pi_old

    def __post_init__(self) -> None:
        require_at_least(self, 2, "samples")
        check_clipped(self, self.clip)

    def drawn(self, batch: Batch, actors: Actors) -> tuple[Tensor, Tensor, Constants]:
        """Samples of pi_old, their rewards, and what `objective` asks besides log pi."""
        items_NK, old_NK = actors.old_at(batch).sample(batch, self.samples, actors.generator)
        reference_NK = actors.reference.log_prob(batch, items_NK)
        reward_NK = actors.reward.score(batch, items_NK)
        constants = old_NK, reference_NK, group_advantage(reward_NK, self.scale_rewards)
        return items_NK, reward_NK, constants

    def objective(self, log_prob: Tensor, old: Tensor, reference: Tensor, gain: Tensor) -> Tensor:
        """The mean over a group, with its KL penalty."""
        loss = self.surrogate(log_prob, old, gain, self.clip)
        return (loss + self.kl_coefficient * forward_kl(log_prob, reference)).mean(dim=-1)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        items_NK, reward_NK, constants = self.drawn(batch, actors)
        fused = actors.policy.loss_of_log_prob
        loss_N, log_prob_NK = fused(batch, items_NK, self.objective, *constants)
        metrics = group_metrics(log_prob_NK, *constants, reward_NK, clip=self.clip)
        return LossOutput(loss_N, means(metrics))

    def after_step(self, actors: Actors) -> None:
        refresh(actors, self.refresh_every)
