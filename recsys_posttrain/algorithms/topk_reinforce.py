"""Off-policy REINFORCE from logged items, corrected for what wrote the log and for lists of K.

    loss = -w log pi(a | x),   w = min(pi / b, weight_cap) K (1 - pi)^(K - 1) (r - baseline)
    pi = pi(a | x),   b = b(a | x)

b is the log's propensity where it has one; else pi_ref, which was cloned from the log, and the
metric `propensity/estimated` is 1. No gradient flows through w. The factor with K is how much more
likely an item is to be among K draws: it fades once pi is large, so items stop short of pi = 1.
Limits: K = 1 is REINFORCE with capped importance weights; with weights of 1 and no baseline it is
reward-weighted cloning. Where pi << b an item with a negative advantage is pushed no further.
Source: top-K off-policy correction, arXiv 1812.02353, equations 3 and 6, weight capping 4.3.
Departures: one-step (contextual bandit), so the return is the reward; the baseline is ours.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import Signal, observed_reward, reference_value
from recsys_posttrain.algorithms.weights import capped, check_cap, weight_metrics
from recsys_posttrain.config import require_at_least
from recsys_posttrain.types import Batch, LossOutput


def top_k_weight(
    log_prob: Tensor, logged: Tensor, items: int, weight_cap: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """min(pi / b, cap) K (1 - pi)^(K - 1), the first factor and where it is the cap; no gradient.

    log_prob, logged: log pi and log b.
    """
    log_prob = log_prob.detach()
    exponent = log_prob - logged
    held = capped(exponent, weight_cap)
    fading = items * (1 - log_prob.exp()).clamp(min=0) ** (items - 1)
    return held.exp() * fading, held.exp(), held < exponent


@dataclass(frozen=True)
class TopKREINFORCE:
    """Off-policy policy gradient for lists of `items`; apart from the paper's form, ours."""

    family: ClassVar[str] = "policy gradient"
    items: int = 10  # K, the length of a list
    reward: Signal = observed_reward  # r
    baseline: Signal = reference_value
    weight_cap: float | None = 10.0  # of pi / b; None: no cap

    def __post_init__(self) -> None:
        require_at_least(self, 1, "items")
        check_cap(self)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        gain_N = self.reward(batch, actors) - self.baseline(batch, actors)
        if batch.propensity_N is None:
            logged_N = actors.reference.log_prob(batch)
        else:
            logged_N = batch.propensity_N.to(gain_N).log()

        def objective(log_prob_N1: Tensor, logged_N1: Tensor, gain_N1: Tensor) -> Tensor:
            weight_N1, *_ = top_k_weight(log_prob_N1, logged_N1, self.items, self.weight_cap)
            return -(weight_N1 * gain_N1 * log_prob_N1).sum(dim=1)

        constants = logged_N[:, None], gain_N[:, None]
        loss_N, log_prob_N1 = actors.policy.loss_of_log_prob(
            batch, batch.action_N[:, None], objective, *constants
        )
        weight_N1, ratio_N1, is_capped_N1 = top_k_weight(
            log_prob_N1, constants[0], self.items, self.weight_cap
        )
        metrics = {
            **weight_metrics(weight_N1, is_capped_N1),
            "ratio/mean": ratio_N1.mean(),
            "advantage/mean": gain_N.mean(),
            "propensity/estimated": torch.full_like(gain_N, batch.propensity_N is None).mean(),
        }
        return LossOutput(loss_N, metrics)
