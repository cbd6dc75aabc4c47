"""Kahneman-Tversky optimisation: raise logged items that were good, lower those that were bad.

    loss = good_weight (1 - sigmoid(beta (lr(a) - z))) where r > threshold
    loss = bad_weight (1 - sigmoid(beta (z - lr(a)))) where r < threshold; equal ones do not count
    lr(a) = log pi(a | x) - log pi_ref(a | x),   z = max(0, mean of lr over draws from pi at x)

z estimates KL(pi || pi_ref), and is a constant. What has moved a few 1 / beta past z is let go.
With `negatives`, what was shown and not chosen is bad; a choice is good where rewards are equal.
Limits: at pi = pi_ref the gradient is that of -+ weight (beta / 4) log pi(a).
Source: KTO, arXiv 2402.01306.
Departures: every x has its z, where the source has one per batch; good is above the user's mean.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.margin import side_metrics
from recsys_posttrain.algorithms.shown_items import ShownItems, beside
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
    negatives: ShownItems | None = None  # ShownItems(): what was shown and not chosen

    def __post_init__(self) -> None:
        require_above_0(self, "beta", "good_weight", "bad_weight")
        require_at_least(self, 1, "samples")
        require(self.threshold is not learned_value, "KTO: nothing trains threshold=learned_value.")

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        log = actors.log.rewards_E
        tells = bool(log.amax() - log.amin() > ROUNDING)
        require(
            tells or self.negatives,
            f"KTO: every logged reward is {float(log[0]):g} stars, so none is good or bad; use BC.",
        )
        gap_N = batch.reward_N - (self.threshold(batch, actors) if tells else batch.reward_N - 1)
        sign_N = gap_N.sign() * (gap_N.abs() > ROUNDING)
        items_NK, sign_NK = beside(self.negatives, batch, actors.generator, sign_N)
        drawn_NS, log_prob_NS = actors.policy.sample(batch, self.samples, actors.generator)
        kl_N = (log_prob_NS - actors.reference.log_prob(batch, drawn_NS)).mean(dim=1).clamp(min=0)
        reference_NK = actors.reference.log_prob(batch, items_NK)

        def objective(log_prob_CK: Tensor, *constants_C: Tensor) -> Tensor:
            reference_CK, point_C, sign_CK = constants_C
            is_good_CK, ratio_CK = sign_CK > 0, log_prob_CK - reference_CK
            weight_CK = self.good_weight * sign_CK.relu() + self.bad_weight * (-sign_CK).relu()
            return (weight_CK * kto_loss(ratio_CK, point_C[:, None], is_good_CK, self.beta)).sum(1)

        given = batch, items_NK, objective, reference_NK, kl_N, sign_NK
        loss_N, log_prob_NK = actors.policy.loss_of_log_prob(*given)
        both = log_prob_NK[:, 0] - reference_NK[:, 0], log_prob_NK[:, 0]
        metrics = side_metrics("chosen", *both, sign_N > 0, self.beta)
        metrics |= side_metrics("rejected", *both, sign_N < 0, self.beta)
        metrics["rewards/margins"] = metrics["rewards/chosen"] - metrics["rewards/rejected"]
        metrics |= {"kl/loss": kl_N.mean(), "kto/good": (sign_N > 0).to(gap_N).mean()}
        return LossOutput(loss_N, metrics, (sign_NK != 0).any(dim=1))
