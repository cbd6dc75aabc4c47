"""The normaliser of a softmax over the catalogue, and the weighted likelihood, with gradients.

    lse_n = log sum_v exp(h_n . e_v)

h_n is the hidden state of position n, a row of hidden_ND, and e_v the output vector of item v, a
row of item_embedding_VD; their product is a logit. Every function here takes the two, and:

logits_dtype: dtype in which float32 hidden states are multiplied with the catalogue; the sums are
    float32. None: float32. Hidden states of another dtype are multiplied in their own.
chunk: positions at a time; None: `positions_per_chunk`.
excluded: items that are not eligible at each position, whose logits are -inf: they have no part in
    a sum, a sample or a gradient. None: every item is eligible. A position where none is gives NaN.

[chunk, V] is the largest temporary. On a CPU each pass over it costs as much as a matrix product,
so one buffer serves all chunks, and scaling is applied to smaller matrices where possible.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recsys_posttrain.eligibility import Excluded, leave_out

LARGEST_CHUNK = 512  # positions: more of them are no faster
LARGEST_BUFFER = 2**25  # logits: bounds memory where the catalogue is large
SMALLEST_CHUNK = 64  # positions, whatever the catalogue: fewer cost twice the time and more
SAFE_EXPONENT = 60.0  # exp leaves the range of float32 at +-87


class How(NamedTuple):
    """How logits are computed: the three arguments above, with the dtype that they lead to."""

    dtype: torch.dtype
    chunk: int | None = None
    excluded: Excluded | None = None


def weighted_nll(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    items_N: Tensor,
    weight_N: Tensor,
    logits_dtype: torch.dtype | None = None,
    chunk: int | None = None,
    excluded: Excluded | None = None,
) -> Tensor:
    """The weighted negative log-likelihood -weight_n log pi(item_n | n), [N].

    The fused form of -weight * log_prob: each logit is computed once, for value and gradient.

    items_N: int64, 1..V, eligible.
    weight_N: constants; no gradient flows into them.
    """
    weight_N, how = weight_N.detach(), How(lowered(hidden_ND, logits_dtype), chunk, excluded)
    weighted_lse_N = _weighted(hidden_ND, item_embedding_VD, weight_N, how)
    chosen_ND = torch.nn.functional.embedding(items_N - 1, item_embedding_VD)
    return weighted_lse_N - weight_N * (hidden_ND * chosen_ND).sum(dim=1)


def graph_logsumexp(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    logits_dtype: torch.dtype | None = None,
    chunk: int | None = None,
    excluded: Excluded | None = None,
) -> Tensor:
    """lse_n = log sum_v exp(h_n . e_v), [N], differentiable once."""
    how = How(lowered(hidden_ND, logits_dtype), chunk, excluded)
    return _weighted(hidden_ND, item_embedding_VD, hidden_ND.new_ones(len(hidden_ND)), how)


def _weighted(hidden_ND: Tensor, item_embedding_VD: Tensor, weight_N: Tensor, how: How) -> Tensor:
    """weight_n lse_n, with gradients where they are asked for."""
    if torch.is_grad_enabled() and (hidden_ND.requires_grad or item_embedding_VD.requires_grad):
        given = hidden_ND, item_embedding_VD, weight_N, how
        weighted_lse_N: Tensor = _WeightedLogSumExp.apply(*given)  # type: ignore[no-untyped-call]
        return weighted_lse_N
    return weight_N * logsumexp(hidden_ND, item_embedding_VD, how)[0]


@torch.no_grad()
def linear_logsumexp(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    logits_dtype: torch.dtype | None = None,
    chunk: int | None = None,
    excluded: Excluded | None = None,
) -> Tensor:
    """lse_n = log sum_v exp(h_n . e_v), [N], without a gradient."""
    how = How(lowered(hidden_ND, logits_dtype), chunk, excluded)
    return logsumexp(hidden_ND, item_embedding_VD, how)[0]


class _WeightedLogSumExp(torch.autograd.Function):
    """weight_n lse_n, with both gradients computed in forward, where the exponentials are at hand.

    Forward assumes that the incoming gradient is the same at all positions whose weight is not 0,
    as it is for a mean over them. Where it is not, backward computes the logits again, which is
    cheaper than keeping them.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, item_embedding_VD: Tensor, weight_N: Tensor, how: How
    ) -> Tensor:
        lse_N, gradients = logsumexp(hidden_ND, item_embedding_VD, how, weight_N)
        ctx.save_for_backward(hidden_ND, item_embedding_VD, weight_N, lse_N, *gradients)
        ctx.how = how
        return weight_N * lse_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient_N = gradients[0]
        hidden_ND, item_embedding_VD, weight_N, lse_N, *computed = ctx.saved_tensors
        counted_N = gradient_N[weight_N != 0]
        if computed and bool((counted_N == counted_N[:1]).all()):
            return *(counted_N[:1].sum() * each for each in computed), None, None
        weight_N = gradient_N * weight_N
        return (
            *_logsumexp_gradient(hidden_ND, item_embedding_VD, ctx.how, lse_N, weight_N),
            *(None, None),
        )


def logsumexp(
    hidden_ND: Tensor, item_embedding_VD: Tensor, how: How, weight_N: Tensor | None = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """lse_N and, where weights are given, the gradients of sum_n weight_n lse_n.

    Returns: lse_N, and the gradients in hidden_ND and item_embedding_VD; an empty tuple without
    weights, or where float32 overflows, so that backward has to compute the logits again.
    """
    lse_N = torch.empty_like(hidden_ND[:, 0])
    gradients = (
        () if weight_N is None else (torch.empty_like(hidden_ND), zeros_like(item_embedding_VD))
    )
    for rows, logits_CV, low_VD in logits_in_chunks(hidden_ND, item_embedding_VD, how):
        total_C = logits_CV.exp_().sum(dim=1, dtype=lse_N.dtype)
        lse_N[rows] = total_C.log()
        if weight_N is not None:
            _add_gradient(gradients, rows, logits_CV, weight_N[rows] / total_C, hidden_ND, low_VD)
    if is_safe(lse_N):
        return lse_N, gradients
    # Overflow is rare, so the shift by the largest logit, one more pass, comes only after it.
    for rows, logits_CV, _ in logits_in_chunks(hidden_ND, item_embedding_VD, how):
        top_C = logits_CV.amax(dim=1)
        total_C = logits_CV.sub_(top_C[:, None]).exp_().sum(dim=1, dtype=lse_N.dtype)
        lse_N[rows] = total_C.log_().add_(top_C)
    return lse_N, ()


def _logsumexp_gradient(
    hidden_ND: Tensor, item_embedding_VD: Tensor, how: How, lse_N: Tensor, weight_N: Tensor
) -> tuple[Tensor, ...]:
    """The gradients of sum_n weight_n lse_n, from logits that are computed again."""
    safe = is_safe(lse_N)
    gradients = torch.empty_like(hidden_ND), zeros_like(item_embedding_VD)
    scale_N = weight_N * (-lse_N).exp() if safe else weight_N
    for rows, logits_CV, low_VD in logits_in_chunks(hidden_ND, item_embedding_VD, how):
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
    """Adds the gradients of one chunk.

    d lse_n / d logit_nv = softmax_nv = scale_n exponential_nv. The scale multiplies the hidden
    states, [C, D], in place of the exponentials, [C, V].
    """
    grad_hidden_ND, grad_embedding_VD = gradients
    grad_hidden_ND[rows] = torch.mm(exponential_CV, low_VD) * scale_C[:, None]
    scaled_CD = (hidden_ND[rows] * scale_C[:, None]).to(low_VD.dtype)
    add_product(grad_embedding_VD, exponential_CV.T, scaled_CD)


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Adds left @ right, in the dtype of these; without a temporary where it is that of total."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += torch.mm(left, right)


def exponentials(
    logits_CV: Tensor,
    hidden_CD: Tensor,
    low_VD: Tensor,
    dtype: torch.dtype,
    excluded_C: Excluded | None,
) -> tuple[Tensor, Tensor]:
    """Overwrites one chunk of `logits_in_chunks` by exp(logits - shift).

    Sampling and log-probabilities share it, so that both round alike.

    Returns: shift_C, which is 0 unless exp leaves the range of float32, and lse_C, in `dtype`.
    """
    lse_C = logits_CV.exp_().sum(dim=1, dtype=dtype).log()
    if is_safe(lse_C):
        return torch.zeros_like(lse_C), lse_C
    leave_out(torch.mm(hidden_CD.to(low_VD.dtype), low_VD.T, out=logits_CV), excluded_C)
    top_C = logits_CV.amax(dim=1)
    lse_C = logits_CV.sub_(top_C[:, None]).exp_().sum(dim=1, dtype=dtype).log()
    return top_C.to(dtype), lse_C + top_C


def is_safe(lse_N: Tensor) -> bool:
    """Whether exp(lse) is within float32; that of a logit then is too, as none is above its lse."""
    return bool((lse_N.abs() < SAFE_EXPONENT).all())


def logits_in_chunks(
    hidden_ND: Tensor, item_embedding_VD: Tensor, how: How
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """The logits of all positions, chunk by chunk; -inf of those that are excluded.

    Yields: the rows of a chunk, their logits (one buffer, overwritten by the next chunk), and the
    item embedding in their dtype (`low_VD`: in lower precision).
    """
    chunk = how.chunk or positions_per_chunk(len(item_embedding_VD))
    low_ND, low_VD = hidden_ND.to(how.dtype), item_embedding_VD.to(how.dtype)
    buffer_CV = low_ND.new_empty(min(chunk, len(low_ND)), len(low_VD))
    for start in range(0, len(low_ND), chunk):
        low_CD = low_ND[start : start + chunk]
        logits_CV = torch.mm(low_CD, low_VD.T, out=buffer_CV[: len(low_CD)])
        rows = slice(start, start + len(low_CD))
        yield rows, leave_out(logits_CV, cut(how.excluded, rows)), low_VD


def cut(excluded: Excluded | None, rows: slice) -> Excluded | None:
    """What these rows exclude."""
    return None if excluded is None else excluded.rows(rows)


def positions_per_chunk(items: int, arrays: int = 1) -> int:
    """The default number of positions in a chunk, for a catalogue of `items`.

    arrays: number of [chunk, V] temporaries in memory at once.
    """
    return max(SMALLEST_CHUNK, min(LARGEST_CHUNK, LARGEST_BUFFER // (items * arrays)))


def lowered(hidden_ND: Tensor, logits_dtype: torch.dtype | None) -> torch.dtype:
    """The dtype of logits: `logits_dtype` for float32 hidden states, else that of the states."""
    return logits_dtype if logits_dtype and hidden_ND.dtype == torch.float32 else hidden_ND.dtype


def fast_products(device: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies it faster than float32, otherwise float32."""
    if device == "cpu":
        features = torch.cpu.get_capabilities()
        known = {name for name, there in features.items() if there and "bf16" in name}
        if "Intel" in str(features.get("cpu_name")):
            # Its matrix units (amx) are fast; its vector units take 1.9 times as long as float32.
            known.discard("avx512_bf16")
        supported = bool(known)
    else:
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if supported else torch.float32


def zeros_like(item_embedding_VD: Tensor) -> Tensor:
    """Zeros of the same shape, stored row by row, whatever the layout of the embedding."""
    return torch.zeros_like(item_embedding_VD, memory_format=torch.contiguous_format)
