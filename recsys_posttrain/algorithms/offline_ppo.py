"""Clipped policy optimisation against the reward model, on actions sampled from pi_old.

    loss = mean over a ~ pi_old of -min(rho A, clip(rho, 1 - e, 1 + e) A) + c KL(pi || pi_ref)
    rho = pi(a | x) / pi_old(a | x),   A = r_hat(x, a) - b(x),   b = E_{pi_old}[r_hat]

pi_old is the policy as of the last refresh, at first the reference. Logged actions are not used.
b is exact and follows pi_old: against the reference's value most advantages are positive once the
policy is better, and nearly all clipping is from above (`clip_ratio/high`).
Limits: at pi = pi_old the expected gradient is that of -E_pi[A] + c KL. It is 0 only at
pi = pi_ref exp(r_hat / c) / Z, so c acts as a temperature; c -> infinity keeps pi_ref.
Source: the surrogate is PPO's, arXiv 1707.06347, equation 7. The KL estimator is the nonnegative k3
of J. Schulman, "Approximating KL Divergence" (2020), reweighted from pi_old to pi (clipped.py).
Departures: one-step (contextual bandit), no GAE, no entropy bonus, r_hat for an environment; new
samples at every step, and pi_old lags by up to `refresh_every` steps, in place of several epochs
over one set of samples. The ratio is against pi_old, never against the fixed reference: clipped
there, the policy could not move further than the clip.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.clipped import (
    check_clipped,
    refresh,
    sample_metrics,
    sampled_terms,
)
from recsys_posttrain.algorithms.signals import Signal, learned_value, old_value
from recsys_posttrain.algorithms.weights import means, value_error, value_head
from recsys_posttrain.config import require_at_least
from recsys_posttrain.types import Batch, LossOutput


@dataclass(frozen=True)
class OfflinePPO:
    """Clipped policy optimisation on samples; apart from the usual clip, the defaults are ours."""

    family: ClassVar[str] = "policy gradient"
    samples: int = 8  # actions per position
    baseline: Signal = old_value  # b; it changes the variance and which actions are clipped
    clip: float = 0.2  # e
    kl_coefficient: float = 1.0  # c, in stars
    refresh_every: int = 8  # optimiser steps between copies of the policy into pi_old

    def __post_init__(self) -> None:
        require_at_least(self, 1, "samples")
        check_clipped(self, self.clip)

    def heads(self, dim: int, num_items: int) -> dict[str, nn.Module]:
        return value_head(self.baseline, dim)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        old, drawn = actors.old_at(batch), (batch, self.samples, actors.generator)
        if self.baseline is old_value:  # from the same pass over the catalogue
            items_NK, old_NK, baseline_N = old.sample_with_value(*drawn, actors.reward)
        else:
            (items_NK, old_NK), baseline_N = old.sample(*drawn), self.baseline(batch, actors)
        with torch.no_grad():
            reference_NK = actors.reference.log_prob(batch, items_NK)
            reward_NK = actors.reward.score(batch, items_NK)
        constants = old_NK, reference_NK, reward_NK - baseline_N[:, None]

        def objective(*log_prob_and_constants: Tensor) -> Tensor:
            surrogate, kl, _ = sampled_terms(*log_prob_and_constants, clip=self.clip)
            return (surrogate + self.kl_coefficient * kl).mean(dim=-1)

        loss_N, log_prob_NK = actors.policy.loss_of_log_prob(batch, items_NK, objective, *constants)
        metrics = sample_metrics(log_prob_NK, *constants, clip=self.clip)
        metrics["reward/sampled"] = reward_NK
        if self.baseline is learned_value:
            metrics["value/error"] = value_error(baseline_N, reward_NK.mean(dim=-1))
            loss_N = loss_N + metrics["value/error"]
        return LossOutput(loss_N, means(metrics))

    def after_step(self, actors: Actors) -> None:
        refresh(actors, self.refresh_every)
