"""Losses of the logged item's logit and of K shared negatives' logits, with gradients.

Positions are walked in chunks, so [chunk, K] is the largest temporary. As in ops/logsumexp.py the
gradients are computed in forward, where the logits are at hand.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.losses.negatives import Candidates
from recsys_posttrain.ops.logsumexp import How, logits_in_chunks, lowered


class LossOfChunk(NamedTuple):
    """The loss of C positions, and its derivatives in the logits.

    The derivative in a negative's logit is scale_C[:, None] * grad_CK: two factors, because scaling
    the hidden states, [C, D], in place of [C, K] numbers saves a pass over them.
    """

    loss_C: Tensor
    grad_C: Tensor  # in the logged item's logit
    scale_C: Tensor
    grad_CK: Tensor  # in the negatives' logits, before scaling


# (logit_C of the logged item, logit_CK of the negatives, which may be overwritten) -> LossOfChunk.
# A negative that is the logged item, or is not eligible, has logit -inf: it must add nothing.
Formula = Callable[[Tensor, Tensor], LossOfChunk]
Dropped = tuple[Tensor, Tensor, Excluded | None]


def over_candidates(
    hidden_ND: Tensor,
    candidates: Candidates,
    formula: Formula,
    logits_dtype: torch.dtype | None = None,
) -> Tensor:
    """The loss of each position, [N], by a formula of its logits.

    Differentiable once, in the hidden states and both sets of vectors.

    logits_dtype: as in ops/logsumexp.py, for the products with the negatives.
    """
    logit_N = (hidden_ND * candidates.chosen_ND).sum(dim=1)
    dropped = candidates.items_N, candidates.negatives.items_K, candidates.excluded
    loss_N: Tensor = _OnePass.apply(  # type: ignore[no-untyped-call]
        hidden_ND,
        candidates.negative_KD,
        logit_N,
        dropped,
        formula,
        lowered(hidden_ND, logits_dtype),
    )
    return loss_N


class _OnePass(torch.autograd.Function):
    """The loss, with its gradients computed in forward.

    Forward assumes that the incoming gradient is the same at all positions, as it is for a mean.
    Where it is not, backward walks the positions again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        negative_KD: Tensor,
        logit_N: Tensor,
        dropped: Dropped,
        formula: Formula,
        logits_dtype: torch.dtype,
    ) -> Tensor:
        one_N = torch.ones_like(logit_N)
        inputs = hidden_ND, negative_KD, logit_N
        loss_N, *computed = _walk(*inputs, dropped, formula, logits_dtype, one_N)
        ctx.save_for_backward(*inputs, *computed)
        ctx.rest = dropped, formula, logits_dtype
        return loss_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient_N = gradients[0]
        hidden_ND, negative_KD, logit_N, *computed = ctx.saved_tensors
        if bool((gradient_N == gradient_N[0]).all()):
            gradients_of_inputs = [gradient_N[0] * each for each in computed]
        else:
            dropped, formula, logits_dtype = ctx.rest
            _, *gradients_of_inputs = _walk(
                hidden_ND, negative_KD, logit_N, dropped, formula, logits_dtype, gradient_N
            )
        return *gradients_of_inputs, None, None, None


def _walk(
    hidden_ND: Tensor,
    negative_KD: Tensor,
    logit_N: Tensor,
    dropped: Dropped,
    formula: Formula,
    logits_dtype: torch.dtype,
    weight_N: Tensor,
) -> tuple[Tensor, ...]:
    """One pass over all positions.

    dropped: the logged items and the items of the negatives, which drop where they are equal, and
        the negatives that are not eligible.

    Returns: loss_N, and the gradients of sum_n weight_n loss_n in the first three arguments.
    """
    items_N, items_K, excluded = dropped
    how = How(logits_dtype, excluded=excluded)
    loss_N, grad_N = torch.empty_like(logit_N), torch.empty_like(logit_N)
    grad_ND, grad_KD = torch.empty_like(hidden_ND), torch.zeros_like(negative_KD)
    for rows, logit_CK, low_KD in logits_in_chunks(hidden_ND, negative_KD, how):
        logit_CK.masked_fill_(items_N[rows, None] == items_K, -math.inf)
        chunk = formula(logit_N[rows], logit_CK)
        scale_C = weight_N[rows] * chunk.scale_C
        scaled_CD = (hidden_ND[rows] * scale_C[:, None]).to(logits_dtype)
        loss_N[rows] = chunk.loss_C
        grad_N[rows] = weight_N[rows] * chunk.grad_C
        grad_ND[rows] = torch.mm(chunk.grad_CK, low_KD) * scale_C[:, None]
        grad_KD += torch.mm(chunk.grad_CK.T, scaled_CD)
    return loss_N, grad_ND, grad_KD, grad_N
