"""Softmax arithmetic over the whole catalogue that never holds [tokens, catalogue] at once.

A policy is pi(v | n) = softmax_v(hidden_n . table_v). Everything below works on N real positions
(padding is dropped before it gets here) and walks them in chunks, so the largest temporary is
[chunk, V]. The normaliser, and with it the likelihood losses, is in logsumexp.py.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recsys_posttrain.logsumexp import linear_logsumexp, positions_per_chunk


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


def log_prob(
    hidden_ND: Tensor,
    table_VD: Tensor,
    items_NK: Tensor,
    products: torch.dtype | None = None,
    chunk: int | None = None,
) -> Tensor:
    """log pi(item | n) for K chosen items per position, [N, K]; item ids are 1..V.

    products: as for linear_logsumexp.
    """
    chosen_NKD = torch.nn.functional.embedding(items_NK - 1, table_VD)
    logit_NK = torch.einsum("nd,nkd->nk", hidden_ND, chosen_NKD)
    return logit_NK - linear_logsumexp(hidden_ND, table_VD, products, chunk)[:, None]


def map_chunks(
    function: Callable[..., Tensor], *rows_N: Tensor, chunk: int, recompute: bool = False
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
    hidden_ND: Tensor,
    table_VD: Tensor,
    count: int,
    generator: torch.Generator,
    chunk: int | None = None,
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

    return map_chunks(
        draw, hidden_ND, uniform_NK, chunk=chunk or positions_per_chunk(len(table_VD))
    )


@torch.no_grad()
def expected_score(
    hidden_ND: Tensor,
    table_VD: Tensor,
    state_NR: Tensor,
    factor_VR: Tensor,
    chunk: int | None = None,
) -> Tensor:
    """E_{v ~ pi(. | n)}[state_n . factor_v], exactly, [N].

    The expectation of the factors comes first, so that one product of width R replaces an
    element-wise pass over [chunk, V].
    """

    def expectation(hidden_CD: Tensor, state_CR: Tensor) -> Tensor:
        mean_CR = (hidden_CD @ table_VD.T).softmax(dim=1) @ factor_VR
        return (mean_CR * state_CR).sum(dim=1)

    return map_chunks(
        expectation, hidden_ND, state_NR, chunk=chunk or positions_per_chunk(len(table_VD))
    )


@torch.no_grad()
def kl_and_entropy(
    hidden_ND: Tensor,
    table_VD: Tensor,
    other_hidden_ND: Tensor,
    other_table_VD: Tensor,
    chunk: int | None = None,
) -> Tensor:
    """Exact KL(pi || other) and entropy of pi per position in nats, [N, 2]."""

    def both(hidden_CD: Tensor, other_CD: Tensor) -> Tensor:
        log_pi_CV = (hidden_CD @ table_VD.T).log_softmax(dim=1)
        log_other_CV = (other_CD @ other_table_VD.T).log_softmax(dim=1)
        pi_CV = log_pi_CV.exp()
        kl_C = (pi_CV * (log_pi_CV - log_other_CV)).sum(dim=1)
        return torch.stack([kl_C, -(pi_CV * log_pi_CV).sum(dim=1)], dim=1)

    return map_chunks(
        both, hidden_ND, other_hidden_ND, chunk=chunk or positions_per_chunk(len(table_VD))
    )
