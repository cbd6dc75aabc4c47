"""What methods share: exponential weights, their cap and metrics; value heads and their errors."""

import math

import torch
from torch import Tensor, nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import VALUE_RATE, Signal, learned_value
from recsys_posttrain.config import require
from recsys_posttrain.types import Batch

WEIGHT_CAP = 20.0  # the default of every exponential weight; ours


def capped(exponent: Tensor, weight_cap: float | None, centre: Tensor | float = 0.0) -> Tensor:
    """The exponents, none above centre + log weight_cap; None is no cap.

    The cap goes on the exponent: exp would overflow before a cap on the weight could act.

    centre: the exponent of a weight of 1.
    """
    if weight_cap is None:
        return exponent
    centre = torch.as_tensor(centre, dtype=exponent.dtype, device=exponent.device)
    return exponent.minimum(centre + math.log(weight_cap))


def exponential_weight(
    advantage: Tensor, temperature: float, weight_cap: float | None
) -> tuple[Tensor, Tensor]:
    """The weight min(exp(advantage / temperature), cap), and where the cap lowers it."""
    exponent = advantage.detach() / temperature
    held = capped(exponent, weight_cap)
    return held.exp(), held < exponent


def check_cap(method: object) -> None:
    """Raises UserError where the field `weight_cap` of a method is out of range."""
    cap: float | None = vars(method)["weight_cap"]
    name = type(method).__name__
    require(
        cap is None or cap > 0, f"{name}: weight_cap={cap} must be above 0, or None for no cap."
    )


def value_error(value: Tensor, target: Tensor) -> Tensor:
    """The critic's squared error (value - target)^2, element by element; the target is constant."""
    return (value - target.detach()) ** 2


def expectile_error(value: Tensor, target: Tensor, level: float) -> Tensor:
    """|level - [target < value]| (value - target)^2, element by element; the target is constant.

    The value with the least mean is the expectile of the targets: at level 1/2 their mean, at
    level -> 1 the largest.
    """
    is_below = (target < value).to(value)
    return (level - is_below).abs() * value_error(value, target)


def value_head(baseline: Signal, dim: int) -> dict[str, nn.Module]:
    """The critic that `learned_value` needs, or none for another baseline.

    dim: width of the policy's hidden states.
    """
    return {"value": scalar_head(dim)} if baseline is learned_value else {}


def learned_bias(batch: Batch, actors: Actors) -> Tensor:
    """b(x), [N], by the head `bias`: the level that the scores z_v + b(x) of a context share.

    It is a part of the score, so its gradient bends the policy too. It counts VALUE_RATE times, as
    `learned_value` does.
    """
    return VALUE_RATE * actors.head("bias", batch, trains_policy=True).squeeze(1)


def scalar_head(dim: int, width: int = 1) -> nn.Module:
    """`width` numbers per hidden state; 0 at first, without a draw from the global generator."""
    # Built without storage first: the usual initialisation would draw from the global generator.
    head = nn.Linear(dim, width, device="meta").to_empty(device="cpu")
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return head


@torch.no_grad()
def explained_share(baseline_N: Tensor, reward_N: Tensor) -> Tensor:
    """R^2 of a baseline against rewards, 1 - mean squared error / variance.

    It is 0 for their mean and below 0 for what is worse; and 0 where all rewards are equal.
    """
    variance = reward_N.var(correction=0)
    error = value_error(baseline_N, reward_N).mean()
    return torch.where(variance > 0, 1 - error / variance, 0)


@torch.no_grad()
def weight_metrics(weight_N: Tensor, is_capped_N: Tensor | None = None) -> dict[str, Tensor]:
    """Mean weight, largest weight, effective share and capped share of positions, to log.

    The effective share is the effective sample size over N, (sum w)^2 / (N sum w^2): 1 when all
    weights are equal, 1/N when one position has all the weight.

    is_capped_N: where the cap lowered the weight; None: nowhere.
    """
    mean, mean_square = weight_N.mean(), (weight_N**2).mean()
    is_capped_N = torch.zeros_like(weight_N) if is_capped_N is None else is_capped_N
    return {
        "weight/mean": mean,
        "weight/max": weight_N.amax(),
        "weight/effective_share": mean**2 / mean_square.clamp(min=torch.finfo(weight_N.dtype).tiny),
        "weight/capped": is_capped_N.to(weight_N).mean(),
    }


def means(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of each metric over all its elements, without a gradient."""
    return {name: each.detach().mean() for name, each in metrics.items()}
