"""A loss of the logged item's logit and of K shared negatives' logits, with its gradients.

Positions are walked in chunks and [chunk, K] is the largest temporary. As in logsumexp.py the
gradients are made in forward, from the logits that are at hand.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recsys_posttrain.losses.negatives import Candidates
from recsys_posttrain.ops.logsumexp import logits_in_chunks, lowered


class Piece(NamedTuple):
    """Of C positions: the loss, and its derivatives in the logits.

    The derivative in a negative's logit is scale_C[:, None] * slope_CK: two factors, because
    scaling the states instead of [C, K] numbers saves a pass over them.
    """

    loss_C: Tensor
    slope_C: Tensor  # in the logged item's logit
    scale_C: Tensor
    slope_CK: Tensor


# (logit_C of the logged item, logit_CK of the negatives, free to be overwritten) -> Piece. A
# negative that is the logged item has logit -inf: it must add nothing.
Formula = Callable[[Tensor, Tensor], Piece]


class _OnePass(torch.autograd.Function):
    """The gradients of forward serve an incoming gradient that is the same at all positions, which
    it is when a mean is taken; otherwise backward walks the positions again."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        negative_KD: Tensor,
        logit_N: Tensor,
        hits: tuple[Tensor, Tensor],
        formula: Formula,
        logits_dtype: torch.dtype,
    ) -> Tensor:
        one_N = torch.ones_like(logit_N)
        inputs = hidden_ND, negative_KD, logit_N
        loss_N, *ready = _walk(*inputs, hits, formula, logits_dtype, one_N)
        ctx.save_for_backward(*inputs, *ready)
        ctx.rest = hits, formula, logits_dtype
        return loss_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient_N = gradients[0]
        hidden_ND, negative_KD, logit_N, *ready = ctx.saved_tensors
        if bool((gradient_N == gradient_N[0]).all()):
            found = [gradient_N[0] * each for each in ready]
        else:
            hits, formula, logits_dtype = ctx.rest
            _, *found = _walk(
                hidden_ND, negative_KD, logit_N, hits, formula, logits_dtype, gradient_N
            )
        return *found, None, None, None


def _walk(
    hidden_ND: Tensor,
    negative_KD: Tensor,
    logit_N: Tensor,
    hits: tuple[Tensor, Tensor],
    formula: Formula,
    logits_dtype: torch.dtype,
    weight_N: Tensor,
) -> tuple[Tensor, ...]:
    """loss_N, and the gradients of sum_n weight_n loss_n in the first three arguments."""
    items_N, items_K = hits
    loss_N, grad_N = torch.empty_like(logit_N), torch.empty_like(logit_N)
    grad_ND, grad_KD = torch.empty_like(hidden_ND), torch.zeros_like(negative_KD)
    for rows, logit_CK, low_KD in logits_in_chunks(hidden_ND, negative_KD, None, logits_dtype):
        logit_CK.masked_fill_(items_N[rows, None] == items_K, -math.inf)
        piece = formula(logit_N[rows], logit_CK)
        scale_C = weight_N[rows] * piece.scale_C
        scaled_CD = (hidden_ND[rows] * scale_C[:, None]).to(logits_dtype)
        loss_N[rows] = piece.loss_C
        grad_N[rows] = weight_N[rows] * piece.slope_C
        grad_ND[rows] = torch.mm(piece.slope_CK, low_KD) * scale_C[:, None]
        grad_KD += torch.mm(piece.slope_CK.T, scaled_CD)
    return loss_N, grad_ND, grad_KD, grad_N


def over_candidates(
    hidden_ND: Tensor,
    candidates: Candidates,
    formula: Formula,
    logits_dtype: torch.dtype | None = None,
) -> Tensor:
    """The loss of each position, [N]; differentiable once, in the states and both sets of vectors.

    logits_dtype: dtype of the products of float32 states with the negatives, for value and
    gradient; None, and for other states, theirs.
    """
    logit_N = (hidden_ND * candidates.chosen_ND).sum(dim=1)
    hits = candidates.items_N, candidates.negatives.items_K
    loss_N: Tensor = _OnePass.apply(  # type: ignore[no-untyped-call]
        hidden_ND, candidates.negative_KD, logit_N, hits, formula, lowered(hidden_ND, logits_dtype)
    )
    return loss_N
