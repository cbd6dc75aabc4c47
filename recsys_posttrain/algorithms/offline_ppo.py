"""Clipped policy optimisation against the reward model, with a KL penalty to the reference.

    loss = E_{a ~ pi_old}[ -min(rho A, clip(rho, 1 - e, 1 + e) A) ] + c KL(pi || pi_ref)
    rho = pi(a | x) / pi_old(a | x),   A = r_hat(x, a) - b(x)

pi_old is the policy as of the last refresh, at first the reference. OfflinePPO estimates both terms
from K actions sampled from pi_old; ExactPPO sums them over the catalogue. Logged actions and logged
rewards are not used.
Limits: at pi = pi_old the gradient is that of -E_pi[A] + c KL; its only zero is the tilt
pi_ref exp(r_hat / c) / Z, so c plays the part of the temperature; c -> infinity keeps pi_ref.
Source: the clipped surrogate is PPO's, arXiv 1707.06347, equation 7. The KL estimator is the
nonnegative one of J. Schulman, "Approximating KL Divergence" (2020), called k3, here reweighted
from pi_old to pi.
Departures: one-step (contextual bandit), no GAE, no entropy bonus, r_hat for an environment;
every step draws new samples for its own batch, and pi_old lags by up to `refresh_every` steps, in
place of several epochs over one set of samples. The ratio is against pi_old, never against the
fixed reference: clipped there, the policy could not move further than the clip.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recsys_posttrain.algorithms.actors import Actors, CatalogueChunk
from recsys_posttrain.algorithms.signals import Signal, learned_value, reference_value
from recsys_posttrain.algorithms.weights import value_error, value_head
from recsys_posttrain.config import require
from recsys_posttrain.ops.softmax import masked_mean
from recsys_posttrain.types import Batch, LossOutput


def clipped_loss(new: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """-min(new A, clip(new, (1 - clip) old, (1 + clip) old) A) per element.

    (new, old) is (rho, 1) for samples of pi_old and (pi, pi_old) in a sum over the catalogue. The
    second is the first times pi_old, without a ratio that overflows where pi_old is almost 0.
    """
    clipped = torch.minimum(torch.maximum(new, (1 - clip) * old), (1 + clip) * old)
    return -torch.minimum(new * advantage, clipped * advantage)


def is_clipped(new: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Where the clipped branch is the smaller one, so that the surrogate has no gradient; bool."""
    too_high = (advantage > 0) & (new > (1 + clip) * old)
    return too_high | ((advantage < 0) & (new < (1 - clip) * old))


def kl_loss(new: Tensor, reference: Tensor, log_ratio: Tensor) -> Tensor:
    """new log(pi / pi_ref) - new + reference per element, never negative.

    log_ratio = log pi - log pi_ref. (new, reference) is (rho, pi_ref / pi_old) for samples of
    pi_old and (pi, pi_ref) in a sum over the catalogue. Either way the sum or expectation over
    pi_old is KL(pi || pi_ref), because those of `new` and of `reference` are both 1; and as pi_old
    is fixed, the gradient of the estimate is unbiased too. (k3 without rho, on samples of pi, has
    the right value but the gradient of KL(pi_ref || pi).)
    """
    return new * log_ratio - new + reference


def _check(name: str, clip: float, kl_coefficient: float, refresh_every: int) -> None:
    require(0 < clip < 1, f"{name}: clip={clip} must be above 0 and below 1.")
    require(kl_coefficient >= 0, f"{name}: kl_coefficient={kl_coefficient} must be at least 0.")
    require(refresh_every >= 1, f"{name}: refresh_every={refresh_every} must be at least 1 step.")


def _means(metrics: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    return {name: masked_mean(each.detach(), batch.mask_BT) for name, each in metrics.items()}


def _refresh(actors: Actors, every: int) -> None:
    if actors.step % every == 0:
        actors.refresh_old()


@dataclass(frozen=True)
class OfflinePPO:
    """samples: actions per position. baseline: signal b; it changes the variance and what is
    clipped. clip: e. kl_coefficient: c, in stars (reward_scale.py). refresh_every: optimiser steps
    between copies of the policy into pi_old. value_coefficient: of the critic's squared error, with
    baseline=learned_value only. Apart from the usual clip, the defaults are ours.
    """

    samples: int = 8
    baseline: Signal = reference_value
    clip: float = 0.2
    kl_coefficient: float = 1.0
    refresh_every: int = 8
    value_coefficient: float = 0.5

    def __post_init__(self) -> None:
        require(self.samples >= 1, f"OfflinePPO: samples={self.samples} must be at least 1.")
        require(
            self.value_coefficient >= 0,
            f"OfflinePPO: value_coefficient={self.value_coefficient} must be at least 0.",
        )
        _check("OfflinePPO", self.clip, self.kl_coefficient, self.refresh_every)

    def heads(self, dim: int) -> dict[str, nn.Module]:
        return value_head(dim) if self.baseline is learned_value else {}

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        old = actors.old_at(batch)
        with torch.no_grad():
            items_BTK, old_BTK = old.sample(batch, self.samples, actors.generator)
            reference_BTK = actors.reference.log_prob(batch, items_BTK)
            reward_BTK = actors.reward.score(batch, items_BTK)
        baseline_BT = self.baseline(batch, actors)
        advantage_BTK = reward_BTK - baseline_BT[..., None]

        def of_samples(
            log_prob: Tensor, old: Tensor, reference: Tensor, advantage: Tensor
        ) -> Tensor:
            ratio = (log_prob - old).exp()
            surrogate = clipped_loss(ratio, torch.ones_like(ratio), advantage, self.clip)
            kl = kl_loss(ratio, (reference - old).exp(), log_prob - reference)
            return (surrogate + self.kl_coefficient * kl).mean(dim=-1)

        loss_BT, log_prob_BTK = actors.policy.loss_of_log_prob(
            batch, items_BTK, of_samples, old_BTK, reference_BTK, advantage_BTK
        )
        ratio_BTK = (log_prob_BTK - old_BTK).exp()
        kl_BTK = kl_loss(ratio_BTK, (reference_BTK - old_BTK).exp(), log_prob_BTK - reference_BTK)
        clipped_BTK = is_clipped(ratio_BTK, torch.ones_like(ratio_BTK), advantage_BTK, self.clip)
        metrics = {
            "kl": kl_BTK.mean(dim=-1),
            "ratio/mean": ratio_BTK.mean(dim=-1),
            "clip_ratio": clipped_BTK.to(ratio_BTK).mean(dim=-1),
            "reward/sampled": reward_BTK.mean(dim=-1),
        }
        if self.baseline is learned_value:
            error_BT = value_error(baseline_BT, reward_BTK.mean(dim=-1))
            loss_BT = loss_BT + self.value_coefficient * error_BT
            metrics["value/error"] = error_BT
        return LossOutput(loss_BT, _means(metrics, batch))

    def after_step(self, actors: Actors) -> None:
        _refresh(actors, self.refresh_every)


@dataclass(frozen=True)
class ExactPPO:
    """The objective of OfflinePPO without sampling variance. A step makes the products of policy,
    pi_old, reference and reward with the whole catalogue at every position, and those of the policy
    again for the gradient, all in float32: 7.7 steps of OfflinePPO at 200,000 items. Fields as
    there; learned_value would only add error here."""

    baseline: Signal = reference_value
    clip: float = 0.2
    kl_coefficient: float = 1.0
    refresh_every: int = 8

    def __post_init__(self) -> None:
        require(
            self.baseline is not learned_value,
            "ExactPPO: baseline=learned_value has nothing to learn from a full sum; "
            "use reference_value.",
        )
        _check("ExactPPO", self.clip, self.kl_coefficient, self.refresh_every)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        baseline_BT = self.baseline(batch, actors)
        sums_BTS = actors.over_catalogue(batch, self._sums(), baseline_BT)
        surrogate_BT, kl_BT, clipped_BT, reward_BT = sums_BTS.unbind(dim=-1)
        metrics = {"kl": kl_BT, "clip_ratio": clipped_BT, "reward/expected": reward_BT}
        return LossOutput(
            surrogate_BT + self.kl_coefficient * kl_BT,
            _means(metrics, batch),
        )

    def _sums(self) -> Callable[[CatalogueChunk, Tensor], Tensor]:
        def sums(chunk: CatalogueChunk, baseline_C: Tensor) -> Tensor:
            new_CV, old_CV = chunk.policy_log_prob_CV.exp(), chunk.old_log_prob_CV.exp()
            advantage_CV = chunk.reward_CV - baseline_C[:, None]
            log_ratio_CV = chunk.policy_log_prob_CV - chunk.reference_log_prob_CV
            terms = (
                clipped_loss(new_CV, old_CV, advantage_CV, self.clip),
                kl_loss(new_CV, chunk.reference_log_prob_CV.exp(), log_ratio_CV),
                old_CV * is_clipped(new_CV, old_CV, advantage_CV, self.clip),
                new_CV * chunk.reward_CV,
            )
            return torch.stack([term_CV.sum(dim=1) for term_CV in terms], dim=1)

        return sums

    def after_step(self, actors: Actors) -> None:
        _refresh(actors, self.refresh_every)
