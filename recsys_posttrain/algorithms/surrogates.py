"""What GRPO needs of a group of samples of pi_old: advantages, surrogates, KL penalty, metrics.

A surrogate is f(log pi, log pi_old, A, clip), element by element: -A pi / pi_old where
nothing is bounded. What they call pi_old' has no gradient; log pi is at most 0. A negative
advantage is where they differ: PPO's gradient grows there with pi / pi_old without a limit.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from recsys_posttrain.algorithms.clipped import clip_metrics, clipped_loss, is_clipped

Surrogate = Callable[[Tensor, Tensor, Tensor, float], Tensor]

EARLY = 0.1  # delta of ECPO, the paper's
ZERO = 1e-4  # stars: a standard deviation below it is none
LARGEST = 10.0  # log(pi_ref / pi) up to which k3 is exponential


def ppo_surrogate(log_prob: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """PPO's and GRPO's: -min(rho A, clip(rho, 1 - clip, 1 + clip) A), rho = pi / pi_old."""
    ratio = (log_prob - old).exp()
    return clipped_loss(ratio, torch.ones_like(ratio), advantage, clip)


def ecpo_surrogate(log_prob: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """ECPO's (OneRec, arXiv 2506.13695): where A < 0, rho is held at 1 + clip + delta.

    pi_old' = max(pi_old, pi / (1 + clip + delta)), so the ratio keeps a gradient, of that size.
    """
    held = torch.maximum(old, log_prob.detach() - math.log1p(clip + EARLY))
    return ppo_surrogate(log_prob, torch.where(advantage < 0, held, old), advantage, clip)


def gbpo_surrogate(log_prob: Tensor, old: Tensor, advantage: Tensor, _: float) -> Tensor:
    """GBPO's (OneRec-V2, arXiv 2508.20900): no clip, -A pi / pi_old', whose gradient is bounded.

    pi_old' = max(pi_old, pi) where A >= 0, else max(pi_old, 1 - pi): the bounds are those of a
    binary cross-entropy.
    """
    log_prob_0 = log_prob.detach()
    other = torch.log1p(-log_prob_0.exp().clamp(max=1))
    held = torch.maximum(old, torch.where(advantage < 0, other, log_prob_0))
    return -(log_prob - held).exp() * advantage


def forward_kl(log_prob: Tensor, reference: Tensor) -> Tensor:
    """GRPO's KL penalty k3 = exp(d) - d - 1, d = log pi_ref - log pi; at least 0.

    Above d = LARGEST it goes on in a straight line: exp(d) would overflow where pi leaves an item
    that it was sampled from.
    """
    difference = reference - log_prob
    held = difference.clamp(max=LARGEST)
    return held.exp() * (1 + difference - held) - difference - 1


def group_metrics(
    log_prob_NK: Tensor,
    old_NK: Tensor,
    reference_NK: Tensor,
    advantage_NK: Tensor,
    reward_NK: Tensor,
    *,
    clip: float,
) -> dict[str, Tensor]:
    """What TRL logs, each over groups or over items; `means` reduces them."""
    ratio_NK, spread_N = (log_prob_NK - old_NK).exp(), reward_NK.std(dim=1)
    below_NK, above_NK = is_clipped(ratio_NK, torch.ones_like(ratio_NK), advantage_NK, clip)
    return {
        "kl/loss": forward_kl(log_prob_NK, reference_NK),
        "ratio/mean": ratio_NK,
        **clip_metrics(below_NK.to(ratio_NK), above_NK.to(ratio_NK)),
        "reward": reward_NK,
        "reward_std": spread_N,
        "frac_reward_zero_std": (spread_N < ZERO).to(spread_N),
    }
