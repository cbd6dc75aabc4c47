"""Shared by the methods that follow log ratios: the loss of a pair's margin, and metrics.

lr(a) = log pi(a | x) - log pi_ref(a | x); the margin of a pair is lr(a_w) - lr(a_l), where a_w is
the preferred item and a_l the rejected one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.pairs import PairSource
from recsys_posttrain.ops.softmax import masked_mean
from recsys_posttrain.types import Batch, LossOutput


def log_ratios(
    batch: Batch, actors: Actors, items_NK: Tensor, *, constant_normaliser: bool
) -> tuple[Tensor, Tensor]:
    """lr and log pi of given items, both [N, K], with the policy's gradient.

    constant_normaliser: for a loss of differences alone, in which the normaliser cancels.
    """
    log_prob_NK = actors.policy.log_prob(batch, items_NK, constant_normaliser=constant_normaliser)
    with torch.no_grad():
        reference_NK = actors.reference.log_prob(batch, items_NK)
    return log_prob_NK - reference_NK, log_prob_NK


def loss_of_pairs(
    batch: Batch,
    actors: Actors,
    pairs: PairSource,
    loss_of_margin: Callable[[Tensor], Tensor],
    beta: float,
    nll_coefficient: float = 0.0,
) -> LossOutput:
    """The loss of one pair per position, loss_of_margin(margin) - nll_coefficient log pi(a_w).

    beta: only scales the metrics `rewards/...`, which are beta lr.
    """
    chosen_N, rejected_N, kept_N = pairs(batch, actors)
    both_N2 = torch.stack([chosen_N, rejected_N], dim=1)
    ratio_N2, log_prob_N2 = log_ratios(
        batch, actors, both_N2, constant_normaliser=nll_coefficient == 0
    )
    margin_N = ratio_N2[:, 0] - ratio_N2[:, 1]
    loss_N = loss_of_margin(margin_N) - nll_coefficient * log_prob_N2[:, 0]
    return LossOutput(loss_N, preference_metrics(ratio_N2, log_prob_N2, kept_N, beta), kept_N)


def preference_metrics(
    ratio_N2: Tensor, log_prob_N2: Tensor, kept_N: Tensor, beta: float
) -> dict[str, Tensor]:
    """What TRL logs of pairs, over the positions that are kept, and how many are.

    ratio_N2, log_prob_N2: lr and log pi of the preferred item (column 0) and of the rejected one.
    """
    margin_N = (ratio_N2[:, 0] - ratio_N2[:, 1]).detach()
    is_kept_N = kept_N.to(margin_N)
    return {
        **side_metrics("chosen", ratio_N2[:, 0], log_prob_N2[:, 0], kept_N, beta),
        **side_metrics("rejected", ratio_N2[:, 1], log_prob_N2[:, 1], kept_N, beta),
        "rewards/margins": masked_mean(beta * margin_N, kept_N),
        "rewards/accuracies": masked_mean((margin_N > 0).to(margin_N), kept_N),
        "pairs/kept": is_kept_N.mean(),
        "pairs/dropped": (1 - is_kept_N).sum(),
    }


@torch.no_grad()
def side_metrics(
    name: str, ratio_N: Tensor, log_prob_N: Tensor, mask_N: Tensor, beta: float
) -> dict[str, Tensor]:
    """The implied reward beta lr and log pi, as means over some positions."""
    return {
        f"rewards/{name}": masked_mean(beta * ratio_N, mask_N),
        f"logps/{name}": masked_mean(log_prob_N, mask_N),
    }
