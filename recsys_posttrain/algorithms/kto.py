"""Kahneman-Tversky optimisation: raise logged items that were good, lower those that were bad.

    loss = good_weight (1 - sigmoid(beta (lr(a) - z))) where r > threshold
    loss = bad_weight (1 - sigmoid(beta (z - lr(a)))) where r < threshold; equal ones do not count
    lr(a) = log pi(a | x) - log pi_ref(a | x),   z = max(0, mean of lr over draws from pi at x)

z estimates KL(pi || pi_ref), and is a constant. What has moved a few 1 / beta past z is let go.
Limits: at pi = pi_ref the gradient is that of -+ weight (beta / 4) log pi(a).
Source: KTO, arXiv 2402.01306.
Departures: every x has its z; the source has one per batch, of mismatched answers. Good is above
the mean of the user's earlier rewards, or, with reference_value as the threshold, pi_ref's mean.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.margin import side_metrics
from recsys_posttrain.algorithms.signals import Signal, learned_value, user_mean
from recsys_posttrain.config import require, require_above_0, require_at_least
from recsys_posttrain.types import Batch, LossOutput

ROUNDING = 1e-4  # stars; a mean of equal rewards is not nearer to them


def kto_loss(ratio: Tensor, point: Tensor, is_good: Tensor, beta: float) -> Tensor:
    """1 - sigmoid(+-beta (ratio - point)), + of good items, - of bad ones; the point is fixed."""
    gain = beta * (ratio - point.detach())
    return torch.where(is_good, -gain, gain).sigmoid()


@dataclass(frozen=True)
class KTO:
    """Kahneman-Tversky optimisation; the defaults of beta and threshold are ours."""

    family: ClassVar[str] = "preferences"
    beta: float = 1.0  # how soon an item has moved far enough
    threshold: Signal = user_mean  # between bad and good rewards
    good_weight: float = 1.0
    bad_weight: float = 1.0
    samples: int = 8  # of pi per position, for the KL

    def __post_init__(self) -> None:
        require_above_0(self, "beta", "good_weight", "bad_weight")
        require_at_least(self, 1, "samples")
        require(
            self.threshold is not learned_value,
            "KTO: no part of its loss trains threshold=learned_value.",
        )

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        log = actors.log.rewards_E
        require(
            log.amax() - log.amin() > ROUNDING,
            f"KTO: every logged reward is {float(log[0]):g} stars, so none is good or bad; use BC.",
        )
        gap_N = batch.reward_N - self.threshold(batch, actors)
        good_N, bad_N = gap_N > ROUNDING, gap_N < -ROUNDING
        weight_N = self.good_weight * good_N.to(gap_N) + self.bad_weight * bad_N.to(gap_N)
        items_NK, drawn_NK = actors.policy.sample(batch, self.samples, actors.generator)
        kl_NK = drawn_NK - actors.reference.log_prob(batch, items_NK)
        reference_N, kl_N = actors.reference.log_prob(batch), kl_NK.mean(dim=1).clamp(min=0)

        def objective(log_prob_C1: Tensor, *constants_C: Tensor) -> Tensor:
            reference_C, point_C, good_C, weight_C = constants_C
            ratio_C = log_prob_C1[:, 0] - reference_C
            return weight_C * kto_loss(ratio_C, point_C, good_C, self.beta)

        constants = reference_N, kl_N, good_N, weight_N
        items_N1 = batch.action_N[:, None]
        loss_N, log_prob_N1 = actors.policy.loss_of_log_prob(batch, items_N1, objective, *constants)
        both = log_prob_N1[:, 0] - reference_N, log_prob_N1[:, 0]
        metrics = side_metrics("chosen", *both, good_N, self.beta)
        metrics |= side_metrics("rejected", *both, bad_N, self.beta)
        metrics["rewards/margins"] = metrics["rewards/chosen"] - metrics["rewards/rejected"]
        metrics |= {"kl": kl_N.mean(), "kto/good": good_N.to(weight_N).mean()}
        return LossOutput(loss_N, metrics, good_N | bad_N)
