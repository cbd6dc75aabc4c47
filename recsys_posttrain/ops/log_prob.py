"""log pi of a few chosen items per position, and losses of it, with gradients.

    log pi(item_k | n) = hidden_n . table_(item_k) - log sum_v exp(hidden_n . table_v)

For a gradient g_k in log pi(item_k | n), that in the logits of position n is g_k at item k and
-(sum_k g_k) pi_v everywhere; both are put into one [chunk, V], so that two products make all of it.
What a likelihood weighs with constants is cheaper still (weighted_nll in logsumexp.py): as the case
K = 1 of this file it takes 1.04 to 1.4 times as long, and bfloat16 rounds the item's own gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recsys_posttrain.ops.logsumexp import (
    exponentials,
    is_safe,
    logits_in_chunks,
    logsumexp,
    lowered,
    zeros_like,
)
from recsys_posttrain.ops.softmax import chosen_logits

LossOfLogProb = Callable[..., Tensor]  # (log_prob_CK, *extra_C) -> loss_C


class _LogProb(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        item_embedding_VD: Tensor,
        items_NK: Tensor,
        logits_dtype: torch.dtype,
        chunk: int | None,
    ) -> Tensor:
        lse_N, _ = logsumexp(hidden_ND, item_embedding_VD, chunk, logits_dtype, None)
        ctx.save_for_backward(hidden_ND, item_embedding_VD, items_NK, lse_N)
        ctx.logits_dtype, ctx.chunk = logits_dtype, chunk
        return chosen_logits(hidden_ND, item_embedding_VD, items_NK) - lse_N[:, None]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        made = _gradients(ctx.saved_tensors, gradients[0], ctx.logits_dtype, ctx.chunk)
        return *made, None, None, None


class _LossOfLogProb(torch.autograd.Function):
    """The gradients are made in forward, from the exponentials that are at hand, for an incoming
    gradient that is the same at all positions, which it is when a mean is taken. When it turns out
    not to be the same, backward computes the logits again."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        item_embedding_VD: Tensor,
        items_NK: Tensor,
        loss_of: LossOfLogProb,
        logits_dtype: torch.dtype,
        chunk: int | None,
        *extra_N: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ready = torch.empty_like(hidden_ND), zeros_like(item_embedding_VD)
        lse_N, loss_N = (torch.empty_like(hidden_ND[:, 0]) for _ in range(2))
        log_prob_NK = chosen_logits(hidden_ND, item_embedding_VD, items_NK)
        slope_NK = torch.empty_like(log_prob_NK)
        for rows, logits_CV, low_VD in logits_in_chunks(
            hidden_ND, item_embedding_VD, chunk, logits_dtype
        ):
            shift_C, lse_C = exponentials(logits_CV, hidden_ND[rows], low_VD, lse_N.dtype)
            log_prob_NK[rows] -= lse_C[:, None]
            with torch.enable_grad():
                chosen_CK = log_prob_NK[rows].requires_grad_()
                loss_C = loss_of(chosen_CK, *(each[rows] for each in extra_N))
                (slope_NK[rows],) = torch.autograd.grad(loss_C.sum(), chosen_CK)
            lse_N[rows], loss_N[rows] = lse_C, loss_C
            probability = shift_C - lse_C
            _add(ready, rows, logits_CV, probability, slope_NK, items_NK, hidden_ND, low_VD)
        ctx.save_for_backward(hidden_ND, item_embedding_VD, items_NK, lse_N, slope_NK, *ready)
        ctx.logits_dtype, ctx.chunk = logits_dtype, chunk
        ctx.mark_non_differentiable(log_prob_NK)
        return loss_N, log_prob_NK

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, slope_NK, ready_hidden_ND, ready_embedding_VD = ctx.saved_tensors
        gradient_N = gradients[0]
        if bool((gradient_N == gradient_N[0]).all()):
            made = gradient_N[0] * ready_hidden_ND, gradient_N[0] * ready_embedding_VD
        else:
            made = _gradients(inputs, gradient_N[:, None] * slope_NK, ctx.logits_dtype, ctx.chunk)
        return *made, *(None for _ in ctx.needs_input_grad[2:])


def _gradients(
    inputs: Sequence[Tensor], slope_NK: Tensor, logits_dtype: torch.dtype, chunk: int | None
) -> tuple[Tensor, Tensor]:
    """Those of sum_nk slope_nk log pi(item_k | n) in hidden states and item embedding, from logits
    computed again.

    inputs: hidden states, item embedding, items and the log-normalisers.
    """
    hidden_ND, item_embedding_VD, items_NK, lse_N = inputs
    made = torch.empty_like(hidden_ND), zeros_like(item_embedding_VD)
    safe = is_safe(lse_N)
    for rows, logits_CV, low_VD in logits_in_chunks(
        hidden_ND, item_embedding_VD, chunk, logits_dtype
    ):
        shift_C = torch.zeros_like(lse_N[rows]) if safe else lse_N[rows]
        if not safe:
            logits_CV.sub_(shift_C[:, None])
        probability = shift_C - lse_N[rows]
        _add(made, rows, logits_CV.exp_(), probability, slope_NK, items_NK, hidden_ND, low_VD)
    return made


def _add(
    made: tuple[Tensor, Tensor],
    rows: slice,
    exponential_CV: Tensor,
    log_scale_C: Tensor,
    slope_NK: Tensor,
    items_NK: Tensor,
    hidden_ND: Tensor,
    low_VD: Tensor,
) -> None:
    """exponential exp(log_scale) are the probabilities of a chunk; overwrites them."""
    grad_hidden_ND, grad_embedding_VD = made
    scale_C = -slope_NK[rows].sum(dim=1) * log_scale_C.exp()
    slope_CV = exponential_CV.mul_(scale_C[:, None].to(low_VD.dtype))
    slope_CV.scatter_add_(1, items_NK[rows] - 1, slope_NK[rows].to(low_VD.dtype))
    grad_hidden_ND[rows] = torch.mm(slope_CV, low_VD).to(hidden_ND.dtype)
    grad_embedding_VD += torch.mm(slope_CV.T, hidden_ND[rows].to(low_VD.dtype))


def log_prob(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    items_NK: Tensor,
    logits_dtype: torch.dtype | None = None,
    chunk: int | None = None,
) -> Tensor:
    """log pi(item | n) for K chosen items per position, [N, K]; item ids are 1..V.

    Differentiable once, in hidden states and item embedding. logits_dtype: dtype of the products of
    float32 states with the whole catalogue, summed up in float32; None, and for other states,
    theirs.
    """
    chosen_NK: Tensor = _LogProb.apply(  # type: ignore[no-untyped-call]
        hidden_ND, item_embedding_VD, items_NK, lowered(hidden_ND, logits_dtype), chunk
    )
    return chosen_NK


def loss_of_log_prob(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    items_NK: Tensor,
    loss_of: LossOfLogProb,
    *extra_N: Tensor,
    logits_dtype: torch.dtype | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(loss_N, log_prob_NK) with loss_N = loss_of(log_prob_NK, *extra_N); each logit is made once.

    The fused form of loss_of(log_prob(...), ...), for a loss that works on every position by
    itself. extra_N: constants, one row per position. The log-probabilities have no gradient.
    logits_dtype: as for `log_prob`.
    """
    made: tuple[Tensor, Tensor] = _LossOfLogProb.apply(  # type: ignore[no-untyped-call]
        hidden_ND,
        item_embedding_VD,
        items_NK,
        loss_of,
        lowered(hidden_ND, logits_dtype),
        chunk,
        *extra_N,
    )
    return made
