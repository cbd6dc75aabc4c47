"""The normaliser of a softmax over the catalogue, and the weighted likelihood, with gradients.

    lse_n = log sum_v exp(hidden_n . table_v)

Positions are walked in chunks and [chunk, V] is the largest temporary. In memory that is all; in
time, each pass over it costs as much as a matrix product on a CPU: one buffer serves all chunks,
and a pass is left out wherever a smaller matrix can take its place.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

LARGEST_CHUNK = 512  # positions: more of them are no faster
LARGEST_BUFFER = 2**25  # logits: what bounds memory where the catalogue is large
SMALLEST_CHUNK = 64  # positions, whatever the catalogue: fewer cost twice the time and more
SAFE_EXPONENT = 60.0


class _WeightedLogSumExp(torch.autograd.Function):
    """weight_n lse_n.

    The gradients are made in forward, from the exponentials that are at hand, for an incoming
    gradient that is the same at all positions, which it is when a mean is taken. When it turns out
    not to be the same, backward computes the logits again: that is cheaper than keeping them.
    logits_dtype: dtype of the products that values and gradients are made of.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        item_embedding_VD: Tensor,
        weight_N: Tensor,
        chunk: int | None,
        logits_dtype: torch.dtype,
    ) -> Tensor:
        lse_N, ready = logsumexp(hidden_ND, item_embedding_VD, chunk, logits_dtype, weight_N)
        ctx.save_for_backward(hidden_ND, item_embedding_VD, weight_N, lse_N, *ready)
        ctx.chunk, ctx.logits_dtype = chunk, logits_dtype
        return weight_N * lse_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient_N = gradients[0]
        hidden_ND, item_embedding_VD, weight_N, lse_N, *ready = ctx.saved_tensors
        if ready and bool((gradient_N == gradient_N[0]).all()):
            grad_hidden_ND, grad_embedding_VD = (gradient_N[0] * each for each in ready)
        else:
            grad_hidden_ND, grad_embedding_VD = _logsumexp_gradient(
                hidden_ND,
                item_embedding_VD,
                lse_N,
                gradient_N * weight_N,
                ctx.chunk,
                ctx.logits_dtype,
            )
        return grad_hidden_ND, grad_embedding_VD, None, None, None


def logsumexp(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    chunk: int | None,
    logits_dtype: torch.dtype,
    weight_N: Tensor | None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """lse_N and, for given weights, the gradients of sum_n weight_n lse_n in both arguments.

    They are left out where float32 would overflow; backward then finds them the longer way.
    """
    lse_N = torch.empty_like(hidden_ND[:, 0])
    gradients = (
        () if weight_N is None else (torch.empty_like(hidden_ND), zeros_like(item_embedding_VD))
    )
    for rows, logits_CV, low_VD in logits_in_chunks(
        hidden_ND, item_embedding_VD, chunk, logits_dtype
    ):
        total_C = logits_CV.exp_().sum(dim=1, dtype=lse_N.dtype)
        lse_N[rows] = total_C.log()
        if weight_N is not None:
            _add_gradient(gradients, rows, logits_CV, weight_N[rows] / total_C, hidden_ND, low_VD)
    if is_safe(lse_N):
        return lse_N, gradients
    # Without a shift exp leaves the range of float32 at +-87; rarely, so it is tried first.
    for rows, logits_CV, _ in logits_in_chunks(hidden_ND, item_embedding_VD, chunk, logits_dtype):
        top_C = logits_CV.amax(dim=1)
        total_C = logits_CV.sub_(top_C[:, None]).exp_().sum(dim=1, dtype=lse_N.dtype)
        lse_N[rows] = total_C.log_().add_(top_C)
    return lse_N, ()


def _logsumexp_gradient(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    lse_N: Tensor,
    weight_N: Tensor,
    chunk: int | None,
    logits_dtype: torch.dtype,
) -> tuple[Tensor, ...]:
    """The gradients of sum_n weight_n lse_n in both arguments, from logits computed again."""
    safe = is_safe(lse_N)
    gradients = torch.empty_like(hidden_ND), zeros_like(item_embedding_VD)
    scale_N = weight_N * (-lse_N).exp() if safe else weight_N
    for rows, logits_CV, low_VD in logits_in_chunks(
        hidden_ND, item_embedding_VD, chunk, logits_dtype
    ):
        if not safe:
            logits_CV.sub_(lse_N[rows, None])
        _add_gradient(gradients, rows, logits_CV.exp_(), scale_N[rows], hidden_ND, low_VD)
    return gradients


def _add_gradient(
    gradients: tuple[Tensor, ...],
    rows: slice,
    exponential_CV: Tensor,
    scale_C: Tensor,
    hidden_ND: Tensor,
    low_VD: Tensor,
) -> None:
    """d lse_n / d logit_v = softmax_v, so both gradients are products with the exponentials; what
    turns them into weighted probabilities scales the states, which are small."""
    grad_hidden_ND, grad_embedding_VD = gradients
    grad_hidden_ND[rows] = torch.mm(exponential_CV, low_VD) * scale_C[:, None]
    scaled_CD = (hidden_ND[rows] * scale_C[:, None]).to(low_VD.dtype)
    if low_VD.dtype == grad_embedding_VD.dtype:
        grad_embedding_VD.addmm_(exponential_CV.T, scaled_CD)
    else:
        grad_embedding_VD += torch.mm(exponential_CV.T, scaled_CD)


def is_safe(lse_N: Tensor) -> bool:
    """Whether exp of these, and of the logits below them, stays within float32."""
    return bool((lse_N.abs() < SAFE_EXPONENT).all())


def exponentials(
    logits_CV: Tensor, hidden_CD: Tensor, low_VD: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """(shift_C, lse_C), their sums in `dtype`; the logits, which are hidden_CD @ low_VD.T, are
    overwritten by exp(logits - shift). The shift is 0 unless exp leaves the range of float32.

    One function for sampling and for log-probabilities: what both round, they round alike.
    """
    lse_C = logits_CV.exp_().sum(dim=1, dtype=dtype).log()
    if is_safe(lse_C):
        return torch.zeros_like(lse_C), lse_C
    torch.mm(hidden_CD.to(low_VD.dtype), low_VD.T, out=logits_CV)
    top_C = logits_CV.amax(dim=1)
    lse_C = logits_CV.sub_(top_C[:, None]).exp_().sum(dim=1, dtype=dtype).log()
    return top_C.to(dtype), lse_C + top_C


def positions_per_chunk(items: int, arrays: int = 1) -> int:
    """How many rows of that many logits are held at a time where nobody asks for another number.

    arrays: float32 numbers per logit that are in memory at once.
    """
    return max(SMALLEST_CHUNK, min(LARGEST_CHUNK, LARGEST_BUFFER // (items * arrays)))


def lowered(hidden_ND: Tensor, logits_dtype: torch.dtype | None) -> torch.dtype:
    return logits_dtype if logits_dtype and hidden_ND.dtype == torch.float32 else hidden_ND.dtype


def zeros_like(item_embedding_VD: Tensor) -> Tensor:
    return torch.zeros_like(item_embedding_VD, memory_format=torch.contiguous_format)


def logits_in_chunks(
    hidden_ND: Tensor, item_embedding_VD: Tensor, chunk: int | None, logits_dtype: torch.dtype
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """(rows, hidden_ND[rows] @ item_embedding_VD.T, item_embedding_VD) for all rows, the last two
    in `logits_dtype`; one buffer, overwritten by the next."""
    chunk = chunk or positions_per_chunk(len(item_embedding_VD))
    low_ND, low_VD = hidden_ND.to(logits_dtype), item_embedding_VD.to(logits_dtype)
    buffer_CV = low_ND.new_empty(min(chunk, len(low_ND)), len(low_VD))
    for start in range(0, len(low_ND), chunk):
        low_CD = low_ND[start : start + chunk]
        logits_CV = torch.mm(low_CD, low_VD.T, out=buffer_CV[: len(low_CD)])
        yield slice(start, start + chunk), logits_CV, low_VD


def fast_products(device: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies it faster than float32, otherwise float32."""
    if device == "cpu":
        features = torch.cpu.get_capabilities()
        supported = any(there for name, there in features.items() if "bf16" in name)
    else:
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if supported else torch.float32


@torch.no_grad()
def linear_logsumexp(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    logits_dtype: torch.dtype | None = None,
    chunk: int | None = None,
) -> Tensor:
    """log sum_v exp(hidden_n . table_v), [N], without a gradient.

    logits_dtype: dtype of the products of float32 states, summed up in float32; None, and for other
    states, theirs.
    """
    lse_N, _ = logsumexp(
        hidden_ND, item_embedding_VD, chunk, lowered(hidden_ND, logits_dtype), None
    )
    return lse_N


def weighted_nll(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    items_N: Tensor,
    weight_N: Tensor,
    logits_dtype: torch.dtype | None = None,
    chunk: int | None = None,
) -> Tensor:
    """-weight_n log pi(item_n | n), [N]; item ids are 1..V and the weight is a constant.

    The fused form of -weight * log_prob: each logit is computed once, for value and gradient.
    logits_dtype: as for linear_logsumexp.
    """
    weight_N = weight_N.detach()
    if torch.is_grad_enabled() and (hidden_ND.requires_grad or item_embedding_VD.requires_grad):
        weighted_lse_N: Tensor = _WeightedLogSumExp.apply(  # type: ignore[no-untyped-call]
            hidden_ND, item_embedding_VD, weight_N, chunk, lowered(hidden_ND, logits_dtype)
        )
    else:
        weighted_lse_N = weight_N * linear_logsumexp(
            hidden_ND, item_embedding_VD, logits_dtype, chunk
        )
    chosen_ND = torch.nn.functional.embedding(items_N - 1, item_embedding_VD)
    return weighted_lse_N - weight_N * (hidden_ND * chosen_ND).sum(dim=1)
