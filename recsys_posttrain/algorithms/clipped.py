"""What the clipped methods share: the surrogate, its KL penalty, and when pi_old is renewed."""

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.config import require, require_at_least


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


def of_samples(
    log_prob: Tensor, old: Tensor, reference: Tensor, advantage: Tensor, *, clip: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(surrogate, KL penalty, rho) per action sampled from pi_old, from the three log pi of it."""
    ratio = (log_prob - old).exp()
    surrogate = clipped_loss(ratio, torch.ones_like(ratio), advantage, clip)
    return surrogate, kl_loss(ratio, (reference - old).exp(), log_prob - reference), ratio


def sample_metrics(
    log_prob: Tensor, old: Tensor, reference: Tensor, advantage: Tensor, *, clip: float
) -> dict[str, Tensor]:
    """Of the same actions, one number each; for `means`."""
    _, kl, ratio = of_samples(log_prob, old, reference, advantage, clip=clip)
    clipped = is_clipped(ratio, torch.ones_like(ratio), advantage, clip)
    return {"kl": kl, "ratio/mean": ratio, "clip_ratio": clipped.to(ratio)}


def check_clipped(method: object, clip: float) -> None:
    """Raises UserError for a field that no clipped method takes."""
    require(0 < clip < 1, f"{type(method).__name__}: clip={clip} must be above 0 and below 1.")
    require_at_least(method, 0, "kl_coefficient")
    require_at_least(method, 1, "refresh_every")


def refresh(actors: Actors, every: int) -> None:
    """pi_old becomes the policy after every `every` steps; for `after_step`."""
    if actors.step % every == 0:
        actors.refresh_old()


def means(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each over all its elements, without a gradient."""
    return {name: each.detach().mean() for name, each in metrics.items()}
