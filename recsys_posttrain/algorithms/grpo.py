"""Group-relative policy optimisation: samples of pi_old, each against the mean of its group.

    loss = mean over G items a_i ~ pi_old of surrogate(pi, pi_old, A_i) + c k3_i
    A_i = (R_i - mean R) / (sd R + 1e-4)   or   R_i - mean R,   R = r_hat(x, a_i)
    k3_i = pi_ref / pi - log(pi_ref / pi) - 1,   pi = pi(a_i | x)

pi_old is the policy as of the last refresh, at first the reference. `scale_rewards` is the division
by the group's standard deviation: GRPO's; without it this is Dr. GRPO. It makes the smallest
differences count as much as the largest, those that r_hat has from noise too. The surrogate is
PPO's, ECPO's or GBPO's (surrogates.py).
Limits: at pi = pi_old the expected gradient without the division is that of
-(1 - 1/G) E_pi[r_hat] + c KL(pi_ref || pi), as the mean holds R_i itself; a group of equal rewards
has no advantage (`frac_reward_zero_std`).
Source: GRPO, arXiv 2402.03300, equations 3 and 4; Dr. GRPO, arXiv 2503.20783.
Departures: one item for an answer, so no length; new samples at every step, and pi_old lags by up
to `refresh_every` steps; k3 is continued in a straight line above pi_ref / pi = e^10, where it
overflows. Its gradient is that of the forward KL, as in the paper: OfflinePPO has KL(pi || pi_ref),
and the exact value as its baseline.
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

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        items_NK, old_NK = actors.old_at(batch).sample(batch, self.samples, actors.generator)
        reference_NK = actors.reference.log_prob(batch, items_NK)
        reward_NK = actors.reward.score(batch, items_NK)
        constants = old_NK, reference_NK, group_advantage(reward_NK, self.scale_rewards)

        def objective(log_prob: Tensor, old: Tensor, reference: Tensor, gain: Tensor) -> Tensor:
            penalty = self.kl_coefficient * forward_kl(log_prob, reference)
            return (self.surrogate(log_prob, old, gain, self.clip) + penalty).mean(dim=-1)

        loss_N, log_prob_NK = actors.policy.loss_of_log_prob(batch, items_NK, objective, *constants)
        metrics = group_metrics(log_prob_NK, *constants, reward_NK, clip=self.clip)
        return LossOutput(loss_N, means(metrics))

    def after_step(self, actors: Actors) -> None:
        refresh(actors, self.refresh_every)
