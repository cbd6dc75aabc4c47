"""Advantage-weighted supervised fine-tuning: clone logged items by how much better they were.

    loss = -w log pi(a | x) [+ (V(x) - R)^2],   w = min(exp((R - b) / temperature), weight_cap)

R and b are signals (signals.py). No gradient flows through w. The squared error is there only when
b is the learned V(x), and trains V alone.
Limits: temperature -> infinity is behaviour cloning; b = no_baseline is Exp-RSFT up to its constant
normaliser (without a cap); R = model_reward with b = ReferenceSoftValue at the same temperature
divides by the exact normaliser Z(x) = E_{pi_ref}[exp(r_hat / temperature)].
Source: A-SFT, "Post-Training Generative Recommenders with Advantage-Weighted Supervised Finetuning"
(Netflix Technology Blog, October 2025), which describes the method without an equation.
Departures: hence reward, baseline, exponential form, cap and defaults are ours. The default b is
the exact E_{pi_ref}[r_hat], which is right from the first step; `baseline/r2` shows what a baseline
explains of the logged rewards, and one that explains nothing makes this Exp-RSFT. Weights are not
normalised: b does that per context, a batch normaliser would tie a position's loss to its
neighbours, and Adam divides a common factor out (weight/mean shows it; 1 to 2 is usual).
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import (
    Signal,
    learned_value,
    observed_reward,
    reference_value,
)
from recsys_posttrain.algorithms.weights import (
    WEIGHT_CAP,
    check_cap,
    explained_share,
    exponential_weight,
    value_error,
    value_head,
    weight_metrics,
)
from recsys_posttrain.config import require_above_0
from recsys_posttrain.types import Batch, LossOutput


@dataclass(frozen=True)
class ASFT:
    """Advantage-weighted cloning; the defaults are ours."""

    family: ClassVar[str] = "weighted likelihood"
    reward: Signal = observed_reward  # R
    baseline: Signal = reference_value  # b
    temperature: float = 1.0  # in stars
    weight_cap: float | None = WEIGHT_CAP  # None: no cap

    def __post_init__(self) -> None:
        require_above_0(self, "temperature")
        check_cap(self)

    def heads(self, dim: int, num_items: int) -> dict[str, nn.Module]:
        return value_head(self.baseline, dim)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        reward_N, baseline_N = self.reward(batch, actors), self.baseline(batch, actors)
        advantage_N = (reward_N - baseline_N).detach()
        weight_N, is_capped_N = exponential_weight(advantage_N, self.temperature, self.weight_cap)
        loss_N = actors.policy.weighted_nll(batch, weight_N)
        metrics: dict[str, Tensor] = {
            **weight_metrics(weight_N, is_capped_N),
            "advantage/mean": advantage_N.mean(),
            "baseline/r2": explained_share(baseline_N, batch.reward_N),
        }
        if self.baseline is learned_value:
            loss_N = loss_N + value_error(baseline_N, reward_N)
        return LossOutput(loss_N, metrics)
