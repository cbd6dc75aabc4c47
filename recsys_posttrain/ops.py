"""Softmax arithmetic over the whole catalogue that never holds [tokens, catalogue] at once.

A policy is pi(v | n) = softmax_v(hidden_n . table_v). Everything below works on N real positions
(padding is dropped before it gets here) and walks them in chunks, so the largest temporary is
[chunk, V]. In backward the logits are computed again: one more matrix product is cheaper than
keeping 4 bytes per token and item.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK = 512
SAFE_EXPONENT = 60.0


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask` is True; the mask, never a value, decides the denominator.

    Both of one shape, any number of dimensions. 0 (with a gradient of 0) when nothing is True.
    """
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)


def masked_row_mean(values_NK: Tensor, mask_NK: Tensor) -> Tensor:
    """Mean of each row where `mask_NK` is True, [N]; 0 for a row without any."""
    return torch.where(mask_NK, values_NK, 0).sum(dim=1) / mask_NK.sum(dim=1).clamp(min=1)


def pack(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """[B, T, ...] -> [N, ...]: the real positions, row by row."""
    return values_BT[mask_BT]


def unpack(values_N: Tensor, mask_BT: Tensor) -> Tensor:
    """[N, ...] -> [B, T, ...]: back to their places; 0 at padding, so nothing there is infinite."""
    padded = values_N.new_zeros(*mask_BT.shape, *values_N.shape[1:])
    return padded.masked_scatter(
        mask_BT.reshape(*mask_BT.shape, *[1] * (values_N.dim() - 1)).expand_as(padded), values_N
    )


class _LinearLogSumExp(torch.autograd.Function):
    """lse_n = log sum_v exp(hidden_n . table_v), with logits recomputed in backward.

    On a CPU the passes over [chunk, V] cost as much as the products: one buffer serves all chunks,
    and a pass is left out wherever a smaller matrix can take its place.
    """

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, table_VD: Tensor, chunk: int) -> Tensor:
        lse_N = torch.empty_like(hidden_ND[:, 0])
        for rows, logits_CV in _logits(hidden_ND, table_VD, chunk):
            lse_N[rows] = logits_CV.exp_().sum(dim=1).log_()
        # Without a shift exp leaves the range of float32 at +-87; rarely, so it is tried first.
        if not (lse_N.abs() < SAFE_EXPONENT).all():
            for rows, logits_CV in _logits(hidden_ND, table_VD, chunk):
                top_C = logits_CV.amax(dim=1)
                lse_N[rows] = logits_CV.sub_(top_C[:, None]).exp_().sum(dim=1).log_().add_(top_C)
        ctx.save_for_backward(hidden_ND, table_VD, lse_N)
        ctx.chunk = chunk
        return lse_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        # d lse_n / d logit_v = softmax_v, so both gradients are products with the probabilities;
        # the gradient of lse_n scales the states, which are small, not the probabilities.
        gradient_N1 = gradients[0][:, None]
        hidden_ND, table_VD, lse_N = ctx.saved_tensors
        scaled_ND = hidden_ND * gradient_N1
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_table_VD = torch.zeros_like(table_VD)
        for rows, logits_CV in _logits(hidden_ND, table_VD, ctx.chunk):
            probability_CV = logits_CV.sub_(lse_N[rows, None]).exp_()
            torch.mm(probability_CV, table_VD, out=grad_hidden_ND[rows])
            grad_table_VD.addmm_(probability_CV.T, scaled_ND[rows])
        return grad_hidden_ND.mul_(gradient_N1), grad_table_VD, None


def _logits(hidden_ND: Tensor, table_VD: Tensor, chunk: int) -> Iterator[tuple[slice, Tensor]]:
    """(rows, hidden_ND[rows] @ table_VD.T) for all rows; one buffer, overwritten by the next."""
    buffer_CV = hidden_ND.new_empty(min(chunk, len(hidden_ND)), len(table_VD))
    for start in range(0, len(hidden_ND), chunk):
        hidden_CD = hidden_ND[start : start + chunk]
        logits_CV = torch.mm(hidden_CD, table_VD.T, out=buffer_CV[: len(hidden_CD)])
        yield slice(start, start + chunk), logits_CV


def linear_logsumexp(hidden_ND: Tensor, table_VD: Tensor, chunk: int = CHUNK) -> Tensor:
    """log sum_v exp(hidden_n . table_v), [N]; differentiable once, in both arguments."""
    lse_N: Tensor = _LinearLogSumExp.apply(hidden_ND, table_VD, chunk)  # type: ignore[no-untyped-call]
    return lse_N


def log_prob(hidden_ND: Tensor, table_VD: Tensor, items_NK: Tensor, chunk: int = CHUNK) -> Tensor:
    """log pi(item | n) for K chosen items per position, [N, K]; item ids are 1..V."""
    chosen_NKD = torch.nn.functional.embedding(items_NK - 1, table_VD)
    logit_NK = torch.einsum("nd,nkd->nk", hidden_ND, chosen_NKD)
    return logit_NK - linear_logsumexp(hidden_ND, table_VD, chunk)[:, None]


def map_chunks(
    function: Callable[..., Tensor], *rows_N: Tensor, chunk: int = CHUNK, recompute: bool = False
) -> Tensor:
    """concatenate(function(*rows[start : start + chunk])): for functions that need [chunk, V].

    recompute: forget the chunk's temporaries and compute them again in backward.
    """
    pieces = []
    for start in range(0, len(rows_N[0]), chunk):
        part = [row[start : start + chunk] for row in rows_N]
        pieces.append(
            checkpoint(function, *part, use_reentrant=False, preserve_rng_state=False)
            if recompute
            else function(*part)
        )
    return torch.cat(pieces)


@torch.no_grad()
def sample_items(
    hidden_ND: Tensor, table_VD: Tensor, count: int, generator: torch.Generator, chunk: int = CHUNK
) -> Tensor:
    """`count` independent draws from pi(. | n) per position, [N, count], ids 1..V.

    Inverse of the cumulative distribution; the uniforms are drawn for all positions at once, so
    that the chunk size does not change the sample.
    """
    uniform_NK = torch.rand(
        len(hidden_ND), count, generator=generator, device=generator.device, dtype=hidden_ND.dtype
    ).to(hidden_ND.device)

    def draw(hidden_CD: Tensor, uniform_CK: Tensor) -> Tensor:
        cumulative_CV = (hidden_CD @ table_VD.T).softmax(dim=1).cumsum(dim=1)
        # Scaling by the last entry keeps rounding from pushing a draw past the catalogue.
        index_CK = torch.searchsorted(cumulative_CV, uniform_CK * cumulative_CV[:, -1:], right=True)
        return index_CK.clamp_(max=len(table_VD) - 1) + 1

    return map_chunks(draw, hidden_ND, uniform_NK, chunk=chunk)


@torch.no_grad()
def expected_score(
    hidden_ND: Tensor, table_VD: Tensor, state_NR: Tensor, factor_VR: Tensor, chunk: int = CHUNK
) -> Tensor:
    """E_{v ~ pi(. | n)}[state_n . factor_v], exactly, [N].

    The expectation of the factors comes first, so that one product of width R replaces an
    element-wise pass over [chunk, V].
    """

    def expectation(hidden_CD: Tensor, state_CR: Tensor) -> Tensor:
        mean_CR = (hidden_CD @ table_VD.T).softmax(dim=1) @ factor_VR
        return (mean_CR * state_CR).sum(dim=1)

    return map_chunks(expectation, hidden_ND, state_NR, chunk=chunk)


@torch.no_grad()
def kl_and_entropy(
    hidden_ND: Tensor,
    table_VD: Tensor,
    other_hidden_ND: Tensor,
    other_table_VD: Tensor,
    chunk: int = CHUNK,
) -> Tensor:
    """Exact KL(pi || other) and entropy of pi per position in nats, [N, 2]."""

    def both(hidden_CD: Tensor, other_CD: Tensor) -> Tensor:
        log_pi_CV = (hidden_CD @ table_VD.T).log_softmax(dim=1)
        log_other_CV = (other_CD @ other_table_VD.T).log_softmax(dim=1)
        pi_CV = log_pi_CV.exp()
        kl_C = (pi_CV * (log_pi_CV - log_other_CV)).sum(dim=1)
        return torch.stack([kl_C, -(pi_CV * log_pi_CV).sum(dim=1)], dim=1)

    return map_chunks(both, hidden_ND, other_hidden_ND, chunk=chunk)
