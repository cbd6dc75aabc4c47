"""log pi of a few chosen items per position, and losses of it, with gradients.

    log pi(item_k | n) = h_n . e_(item_k) - log sum_v exp(h_n . e_v)

Arguments are those of logsumexp.py. Where the gradient in log pi(item_k | n) is g_k, that in the
logit of item v at position n is the sum of g_k over item_k = v, less (sum_k g_k) pi_v. One
[chunk, V] holds both terms, and two products with it give the gradients in hidden states and item
embedding. For constant weights `weighted_nll` in logsumexp.py is faster: as the case K = 1 of this
file it takes 1.04 to 1.4 times as long, and bfloat16 rounds the item's own gradient.

An item that is excluded at a position has no log-probability. Who asks for one all the same gets a
finite number, its logit less the lse of the eligible items; no loss of this package asks.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.ops.logsumexp import (
    How,
    add_product,
    cut,
    exponentials,
    is_safe,
    logits_in_chunks,
    logsumexp,
    lowered,
    zeros_like,
)
from recsys_posttrain.ops.softmax import chosen_logits

LossOfLogProb = Callable[..., Tensor]  # (log_prob_CK, *extra_C) -> loss_C


def log_prob(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    items_NK: Tensor,
    logits_dtype: torch.dtype | None = None,
    chunk: int | None = None,
    excluded: Excluded | None = None,
) -> Tensor:
    """The log-probability log pi(item | n) of K chosen items per position, [N, K].

    Differentiable once, in hidden states and item embedding.
    """
    how = How(lowered(hidden_ND, logits_dtype), chunk, excluded)
    chosen_NK: Tensor = _LogProb.apply(  # type: ignore[no-untyped-call]
        hidden_ND, item_embedding_VD, items_NK, how
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
    excluded: Excluded | None = None,
) -> tuple[Tensor, Tensor]:
    """The fused form of loss_of(log_prob(...), *extra_N): each logit is computed once.

    loss_of: (log_prob_CK, *extra_C) -> loss_C; each loss depends on its own position only.
    extra_N: constants, one row per position.

    Returns: loss_N, and log_prob_NK without a gradient.
    """
    how = How(lowered(hidden_ND, logits_dtype), chunk, excluded)
    both: tuple[Tensor, Tensor] = _LossOfLogProb.apply(  # type: ignore[no-untyped-call]
        hidden_ND, item_embedding_VD, items_NK, how, loss_of, *extra_N
    )
    return both


class _LogProb(torch.autograd.Function):
    """log pi of chosen items; backward computes the logits again."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, item_embedding_VD: Tensor, items_NK: Tensor, how: How
    ) -> Tensor:
        lse_N, _ = logsumexp(hidden_ND, item_embedding_VD, how)
        ctx.save_for_backward(hidden_ND, item_embedding_VD, items_NK, lse_N)
        ctx.how = how
        return chosen_logits(hidden_ND, item_embedding_VD, items_NK) - lse_N[:, None]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return *_gradients(ctx.saved_tensors, gradients[0], ctx.how), None, None


class _LossOfLogProb(torch.autograd.Function):
    """A loss of log pi, with its gradients computed in forward, where the exponentials are at hand.

    Forward assumes that the incoming gradient is the same at all positions whose loss has one, as
    it is for a mean over them. Where it is not, backward computes the logits again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        item_embedding_VD: Tensor,
        items_NK: Tensor,
        how: How,
        loss_of: LossOfLogProb,
        *extra_N: Tensor,
    ) -> tuple[Tensor, Tensor]:
        gradients = torch.empty_like(hidden_ND), zeros_like(item_embedding_VD)
        lse_N, loss_N = (torch.empty_like(hidden_ND[:, 0]) for _ in range(2))
        log_prob_NK = chosen_logits(hidden_ND, item_embedding_VD, items_NK)
        grad_NK = torch.empty_like(log_prob_NK)
        for rows, logits_CV, low_VD in logits_in_chunks(hidden_ND, item_embedding_VD, how):
            excluded_C = cut(how.excluded, rows)
            shift_C, lse_C = exponentials(
                logits_CV, hidden_ND[rows], low_VD, lse_N.dtype, excluded_C
            )
            log_prob_NK[rows] -= lse_C[:, None]
            with torch.enable_grad():
                chosen_CK = log_prob_NK[rows].requires_grad_()
                loss_C = loss_of(chosen_CK, *(each[rows] for each in extra_N))
                (grad_NK[rows],) = torch.autograd.grad(loss_C.sum(), chosen_CK)
            lse_N[rows], loss_N[rows] = lse_C, loss_C
            log_scale_C = shift_C - lse_C
            _add(gradients, rows, logits_CV, log_scale_C, grad_NK, items_NK, hidden_ND, low_VD)
        ctx.save_for_backward(hidden_ND, item_embedding_VD, items_NK, lse_N, grad_NK, *gradients)
        ctx.how = how
        ctx.mark_non_differentiable(log_prob_NK)
        return loss_N, log_prob_NK

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, grad_NK, grad_hidden_ND, grad_embedding_VD = ctx.saved_tensors
        gradient_N = gradients[0]
        counted_N = gradient_N[(grad_NK != 0).any(dim=1)]
        if bool((counted_N == counted_N[:1]).all()):
            same = counted_N[:1].sum()
            computed = same * grad_hidden_ND, same * grad_embedding_VD
        else:
            grad_NK = gradient_N[:, None] * grad_NK
            computed = _gradients(inputs, grad_NK, ctx.how)
        return *computed, *(None for _ in ctx.needs_input_grad[2:])


def _gradients(inputs: Sequence[Tensor], grad_NK: Tensor, how: How) -> tuple[Tensor, Tensor]:
    """The gradients of sum_nk grad_nk log pi(item_k | n), from logits that are computed again.

    inputs: hidden states, item embedding, items and lse_N.
    Returns: the gradients in hidden states and item embedding.
    """
    hidden_ND, item_embedding_VD, items_NK, lse_N = inputs
    gradients = torch.empty_like(hidden_ND), zeros_like(item_embedding_VD)
    safe = is_safe(lse_N)
    for rows, logits_CV, low_VD in logits_in_chunks(hidden_ND, item_embedding_VD, how):
        shift_C = torch.zeros_like(lse_N[rows]) if safe else lse_N[rows]
        if not safe:
            logits_CV.sub_(shift_C[:, None])
        log_scale_C = shift_C - lse_N[rows]
        logits_CV.exp_()
        _add(gradients, rows, logits_CV, log_scale_C, grad_NK, items_NK, hidden_ND, low_VD)
    return gradients


def _add(
    gradients: tuple[Tensor, Tensor],
    rows: slice,
    exponential_CV: Tensor,
    log_scale_C: Tensor,
    grad_NK: Tensor,
    items_NK: Tensor,
    hidden_ND: Tensor,
    low_VD: Tensor,
) -> None:
    """Adds the gradients of one chunk, whose probabilities are exponential exp(log_scale).

    It overwrites the exponentials by the gradient in the logits.
    """
    grad_hidden_ND, grad_embedding_VD = gradients
    scale_C = -grad_NK[rows].sum(dim=1) * log_scale_C.exp()
    grad_CV = exponential_CV.mul_(scale_C[:, None].to(low_VD.dtype))
    grad_CV.scatter_add_(1, items_NK[rows] - 1, grad_NK[rows].to(low_VD.dtype))
    grad_hidden_ND[rows] = torch.mm(grad_CV, low_VD).to(hidden_ND.dtype)
    add_product(grad_embedding_VD, grad_CV.T, hidden_ND[rows].to(low_VD.dtype))
