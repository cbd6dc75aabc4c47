"""Clipped surrogates: OfflinePPO, ExactPPO and GRPO share the clip; its KL; renewal of pi_old.

pi is the policy, pi_old its copy as of the last refresh, pi_ref the reference, rho = pi / pi_old,
and A an advantage in stars.
"""

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.config import require, require_at_least


def clipped_loss(new: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """The surrogate -min(new A, clip(new, (1 - clip) old, (1 + clip) old) A), element by element.

    (new, old) is (rho, 1) for samples of pi_old and (pi, pi_old) in a sum over the catalogue. The
    second is the first times pi_old, without a ratio that overflows where pi_old is almost 0.
    """
    clipped = torch.minimum(torch.maximum(new, (1 - clip) * old), (1 + clip) * old)
    return -torch.minimum(new * advantage, clipped * advantage)


def is_clipped(new: Tensor, old: Tensor, advantage: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Where the surrogate takes the clipped branch and so has no gradient, bool: below, at negative
    advantages, and above, at positive ones."""
    below = (advantage < 0) & (new < (1 - clip) * old)
    return below, (advantage > 0) & (new > (1 + clip) * old)


def clip_metrics(below: Tensor, above: Tensor) -> dict[str, Tensor]:
    """The shares that are clipped, from their two parts."""
    return {"clip_ratio": below + above, "clip_ratio/low": below, "clip_ratio/high": above}


def kl_loss(new: Tensor, reference: Tensor, log_ratio: Tensor) -> Tensor:
    """The terms of KL(pi || pi_ref): new log_ratio - new + reference, each at least 0.

    log_ratio = log pi - log pi_ref. (new, reference) is (rho, pi_ref / pi_old) for samples of
    pi_old and (pi, pi_ref) in a sum over the catalogue. Their mean over pi_old, or their sum, is
    KL(pi || pi_ref), since `new` and `reference` each average, or sum, to 1. As pi_old is fixed,
    the gradient of the estimate is unbiased too. (k3 without rho, on samples of pi, has the right
    value but the gradient of KL(pi_ref || pi).)
    """
    return new * log_ratio - new + reference


def sampled_terms(
    log_prob: Tensor, old: Tensor, reference: Tensor, advantage: Tensor, *, clip: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Surrogate, KL penalty and rho of each action that was sampled from pi_old.

    log_prob, old, reference: its log-probability under pi, pi_old and pi_ref.
    """
    ratio = (log_prob - old).exp()
    surrogate = clipped_loss(ratio, torch.ones_like(ratio), advantage, clip)
    return surrogate, kl_loss(ratio, (reference - old).exp(), log_prob - reference), ratio


def sample_metrics(
    log_prob: Tensor, old: Tensor, reference: Tensor, advantage: Tensor, *, clip: float
) -> dict[str, Tensor]:
    """Metrics of the same actions, one number per action; `means` reduces them."""
    _, kl, ratio = sampled_terms(log_prob, old, reference, advantage, clip=clip)
    below, above = is_clipped(ratio, torch.ones_like(ratio), advantage, clip)
    return {"kl/loss": kl, "ratio/mean": ratio, **clip_metrics(below.to(ratio), above.to(ratio))}


def check_clipped(method: object, clip: float) -> None:
    """Raises UserError where a field that clipped methods share is out of range."""
    require(0 < clip < 1, f"{type(method).__name__}: clip={clip} must be above 0 and below 1.")
    require_at_least(method, 0, "kl_coefficient")
    require_at_least(method, 1, "refresh_every")


def refresh(actors: Actors, every: int) -> None:
    """Copies the policy into pi_old after every `every` optimiser steps."""
    if actors.step % every == 0:
        actors.refresh_old()
