"""What the weighted-likelihood algorithms share: the facts about weights, the critic."""

import torch
from torch import Tensor, nn

from recsys_posttrain.ops.softmax import masked_mean


def value_error(value: Tensor, target: Tensor) -> Tensor:
    """(value - target)^2 per element; the target is a constant."""
    return (value - target.detach()) ** 2


def value_head(dim: int) -> dict[str, nn.Module]:
    """The head that signals.learned_value reads; it starts at exactly 0 and draws nothing."""
    # Made without storage first: the usual initialisation would draw from the global generator.
    head = nn.Linear(dim, 1, device="meta").to_empty(device="cpu")
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return {"value": head}


@torch.no_grad()
def weight_metrics(weight: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Mean and largest weight, and the effective sample size over n, (sum w)^2 / (n sum w^2):
    1 when all weights are equal, 1/n when one position has all the weight."""
    mean, mean_square = masked_mean(weight, mask), masked_mean(weight**2, mask)
    return {
        "weight/mean": mean,
        "weight/max": weight.masked_fill(~mask, -torch.inf).amax(),
        "weight/effective_share": mean**2 / mean_square.clamp(min=torch.finfo(weight.dtype).tiny),
    }
