"""Shared by the weighted-likelihood algorithms: metrics of the weights, and the critic."""

import torch
from torch import Tensor, nn

from recsys_posttrain.algorithms.signals import Signal, learned_value


def value_error(value: Tensor, target: Tensor) -> Tensor:
    """The critic's squared error (value - target)^2, element by element; the target is constant."""
    return (value - target.detach()) ** 2


def value_head(baseline: Signal, dim: int) -> dict[str, nn.Module]:
    """The critic that `learned_value` needs, or none for another baseline.

    Its weights start at exactly 0, without a draw from the global generator.

    dim: width of the policy's hidden states.
    """
    if baseline is not learned_value:
        return {}
    # Built without storage first: the usual initialisation would draw from the global generator.
    head = nn.Linear(dim, 1, device="meta").to_empty(device="cpu")
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return {"value": head}


@torch.no_grad()
def weight_metrics(weight_N: Tensor) -> dict[str, Tensor]:
    """Mean weight, largest weight and effective share of positions, to log.

    The effective share is the effective sample size over N, (sum w)^2 / (N sum w^2): 1 when all
    weights are equal, 1/N when one position has all the weight.
    """
    mean, mean_square = weight_N.mean(), (weight_N**2).mean()
    return {
        "weight/mean": mean,
        "weight/max": weight_N.amax(),
        "weight/effective_share": mean**2 / mean_square.clamp(min=torch.finfo(weight_N.dtype).tiny),
    }
