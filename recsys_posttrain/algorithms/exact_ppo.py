"""Clipped policy optimisation against the reward model, summed over the catalogue.

    loss = sum_a -min(pi A, clip(pi, (1 - e) pi_old, (1 + e) pi_old) A) + c KL(pi || pi_ref)
    pi = pi(a | x),   A = r_hat(x, a) - E_{pi_old}[r_hat]

The objective of OfflinePPO without sampling variance: see there for pi_old, source and departures.
A step computes the logits of policy, pi_old and reference and the rewards of the whole catalogue at
every position, and the policy's again for the gradient, all in float32. At 200,000 items it takes
as long as 7.7 steps of OfflinePPO.
Limits: at pi = pi_old the gradient is that of -E_pi[A] + c KL. It is 0 only at
pi = pi_ref exp(r_hat / c) / Z; c -> infinity keeps pi_ref.
Source: the sum is ours; each of its terms is that of arXiv 1707.06347, equation 7, times pi_old.
Departures: those of OfflinePPO, apart from its samples.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors, CatalogueChunk
from recsys_posttrain.algorithms.clipped import (
    check_clipped,
    clip_metrics,
    clipped_loss,
    is_clipped,
    kl_loss,
    refresh,
)
from recsys_posttrain.algorithms.weights import means
from recsys_posttrain.types import Batch, LossOutput


@dataclass(frozen=True)
class ExactPPO:
    """Clipped policy optimisation over the catalogue; the fields are those of OfflinePPO."""

    family: ClassVar[str] = "policy gradient"
    clip: float = 0.2  # e
    kl_coefficient: float = 1.0  # c, in stars
    refresh_every: int = 8  # optimiser steps between copies of the policy into pi_old

    def __post_init__(self) -> None:
        check_clipped(self, self.clip)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        def sums(chunk: CatalogueChunk) -> Tensor:
            new_CV, old_CV = chunk.policy_log_prob_CV.exp(), chunk.old_log_prob_CV.exp()
            old_value_C1 = (old_CV * chunk.reward_CV).sum(dim=1, keepdim=True)
            advantage_CV = chunk.reward_CV - old_value_C1
            below_CV, above_CV = is_clipped(new_CV, old_CV, advantage_CV, self.clip)
            log_ratio_CV = chunk.policy_log_prob_CV - chunk.reference_log_prob_CV
            terms = (
                clipped_loss(new_CV, old_CV, advantage_CV, self.clip),
                kl_loss(new_CV, chunk.reference_log_prob_CV.exp(), log_ratio_CV),
                old_CV * below_CV,
                old_CV * above_CV,
                new_CV * chunk.reward_CV,
            )
            return torch.stack([term_CV.sum(dim=1) for term_CV in terms], dim=1)

        sums_N5 = actors.over_catalogue(batch, sums)
        surrogate_N, kl_N, below_N, above_N, reward_N = sums_N5.unbind(dim=1)
        metrics = {"kl/loss": kl_N, "reward/expected": reward_N, **clip_metrics(below_N, above_N)}
        return LossOutput(surrogate_N + self.kl_coefficient * kl_N, means(metrics))

    def after_step(self, actors: Actors) -> None:
        refresh(actors, self.refresh_every)
