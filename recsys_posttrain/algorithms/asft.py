"""Advantage-weighted supervised fine-tuning: clone logged items by how much better they were.

    loss = -w log pi(a | x) + value_coefficient (V(x) - R)^2,   w = min(exp((R - b) / temperature),
                                                                        weight_cap)

R and b are signals (signals.py). No gradient flows through w. The squared error is there only when
b is the learned V(x), and trains V alone.
Limits: temperature -> infinity is behaviour cloning; b = no_baseline is Exp-RSFT up to its constant
normaliser (and the cap); R = model_reward with b = ReferenceSoftValue at the same temperature
divides by the exact normaliser Z(x) = E_{pi_ref}[exp(r_hat / temperature)].
Source: A-SFT, "Post-Training Generative Recommenders with Advantage-Weighted Supervised Finetuning"
(Netflix Technology Blog, October 2025), which describes the method without an equation.
Departures: hence reward, baseline, exponential form, cap and defaults are ours. Weights are not
normalised: b does that per context, a batch normaliser would tie a position's loss to its
neighbours, and Adam divides a common factor out (weight/mean shows it; 1 to 2 is usual). V is
learned as a difference to the mean logged reward, so that it starts as a constant baseline.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import Signal, learned_value, observed_reward
from recsys_posttrain.algorithms.weights import value_error, value_head, weight_metrics
from recsys_posttrain.config import require, require_above_0, require_at_least
from recsys_posttrain.types import Batch, LossOutput


def advantage_weight(advantage: Tensor, temperature: float, weight_cap: float | None) -> Tensor:
    """min(exp(advantage / temperature), weight_cap), element by element; None is no cap."""
    exponent = advantage / temperature
    # The cap goes on the exponent: exp would overflow before a cap on the weight could act.
    return exponent.clamp(max=math.inf if weight_cap is None else math.log(weight_cap)).exp()


@dataclass(frozen=True)
class ASFT:
    """Advantage-weighted cloning; the defaults are ours."""

    reward: Signal = observed_reward  # R
    baseline: Signal = learned_value  # b
    temperature: float = 1.0  # in stars
    weight_cap: float | None = 20.0  # None: no cap
    value_coefficient: float = 0.5  # read with baseline=learned_value only

    def __post_init__(self) -> None:
        require_above_0(self, "temperature")
        cap = self.weight_cap
        require(
            cap is None or cap > 0, f"ASFT: weight_cap={cap} must be above 0, or None for no cap."
        )
        require_at_least(self, 0, "value_coefficient")

    def heads(self, dim: int, num_items: int) -> dict[str, nn.Module]:
        return value_head(self.baseline, dim)

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        reward_N, baseline_N = self.reward(batch, actors), self.baseline(batch, actors)
        advantage_N = (reward_N - baseline_N).detach()
        weight_N = advantage_weight(advantage_N, self.temperature, self.weight_cap)
        loss_N = actors.policy.weighted_nll(batch, weight_N)
        metrics = weight_metrics(weight_N) | {"advantage/mean": advantage_N.mean()}
        if self.baseline is learned_value:
            error_N = value_error(baseline_N, reward_N)
            loss_N = loss_N + self.value_coefficient * error_N
            metrics["value/error"] = error_N.mean().detach()
        return LossOutput(loss_N, metrics)
