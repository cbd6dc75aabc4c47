"""Samples, expectations and KL over the whole catalogue that never hold [N, V] at once.

A policy is pi(v | n) = softmax_v(h_n . e_v): h_n is the hidden state of position n, a row of
hidden_ND, and e_v the output vector of item v, a row of item_embedding_VD. The functions walk N
real positions in chunks (None: `positions_per_chunk`), so the largest temporary is [chunk, V];
expectation and KL walk a large catalogue in parts too.
Item ids are 1..V. Excluded items (`excluded`, as in logsumexp.py) have probability 0; a position
where all are gives NaN. The normaliser and the likelihood losses are in logsumexp.py and
log_prob.py.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recsys_posttrain.eligibility import Excluded, leave_out
from recsys_posttrain.ops.logsumexp import (
    How,
    cut,
    exponentials,
    logits_in_chunks,
    lowered,
    positions_per_chunk,
)

PART = 2**16  # items that expectation and KL look at together: bounds memory, as chunks do
# Items in a block of `_draw`. It looks at V / block + draws * block numbers, fewest at the root of
# V / draws: 16 for 2,000 items and 8 draws.
SAMPLING_BLOCK = 16


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of `values` where `mask` is True, or 0 with a gradient of 0 where nothing is.

    mask: bool, of the shape of `values`; None: all True.
    """
    if mask is None:
        return values.mean()
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)


def chosen_logits(
    hidden_ND: Tensor, item_embedding_VD: Tensor, items_NK: Tensor, *, sparse: bool = False
) -> Tensor:
    """The logits h_n . e_v of K chosen items per position, [N, K].

    sparse: whether the gradient in the item embedding holds the chosen rows alone.
    """
    chosen_NKD = torch.nn.functional.embedding(items_NK - 1, item_embedding_VD, sparse=sparse)
    return torch.einsum("nd,nkd->nk", hidden_ND, chosen_NKD)


def map_chunks(
    function: Callable[..., Tensor],
    first_N: Tensor,
    *rows_N: Tensor | Excluded | None,
    chunk: int,
    recompute: bool = False,
) -> Tensor:
    """function(first_N, *rows_N), chunk by chunk because it needs [chunk, V] temporaries.

    rows_N: arguments of the function, each cut into the same rows.
    recompute: free the temporaries and compute them again in backward.
    """
    pieces = []
    for start in range(0, len(first_N), chunk):
        rows = slice(start, start + chunk)
        part = [
            each[rows] if isinstance(each, Tensor) else cut(each, rows)
            for each in (first_N, *rows_N)
        ]
        pieces.append(
            checkpoint(function, *part, use_reentrant=False, preserve_rng_state=False)
            if recompute
            else function(*part)
        )
    return torch.cat(pieces)


@torch.no_grad()
def sample_items(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    count: int,
    generator: torch.Generator,
    logits_dtype: torch.dtype | None = None,
    chunk: int | None = None,
    excluded: Excluded | None = None,
) -> tuple[Tensor, Tensor]:
    """`count` independent draws from pi(. | n) per position and log pi of each, [N, count].

    logits_dtype: as in logsumexp.py. The draws are those of pi in that precision, and log pi is, to
    the bit, that of `loss_of_log_prob` with the same dtype.
    """
    state_N0, factor_V0 = hidden_ND[:, :0], item_embedding_VD[:, :0]
    items_NK, log_prob_NK, _ = sample_and_expect(
        *(hidden_ND, item_embedding_VD, count, generator, state_N0, factor_V0),
        *(logits_dtype, chunk, excluded),
    )
    return items_NK, log_prob_NK


@torch.no_grad()
def sample_and_expect(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    count: int,
    generator: torch.Generator,
    state_NR: Tensor,
    factor_VR: Tensor,
    logits_dtype: torch.dtype | None = None,
    chunk: int | None = None,
    excluded: Excluded | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The fused form of `sample_items` and `expected_score`, in `logits_dtype`.

    Uniforms are drawn for all positions at once, so that the chunk size does not change the sample,
    and looked up in the cumulative distribution. A cumulative sum over the catalogue would be slow:
    that of blocks of items finds the block of a draw, and one within the block finds the item.

    The expectation is that of factors around their mean, so that low precision rounds what differs
    between items, not the level.
    """
    uniform_NK = torch.rand(
        len(hidden_ND), count, generator=generator, device=generator.device, dtype=hidden_ND.dtype
    ).to(hidden_ND.device)
    items_NK = torch.empty(uniform_NK.shape, dtype=torch.int64, device=hidden_ND.device)
    lse_N = torch.empty_like(hidden_ND[:, 0])
    mean_R, expected_N = factor_VR.mean(dim=0), torch.empty_like(lse_N)
    how = How(lowered(hidden_ND, logits_dtype), chunk, excluded)
    low_VR = (factor_VR - mean_R).to(how.dtype)
    for rows, logits_CV, low_VD in logits_in_chunks(hidden_ND, item_embedding_VD, how):
        shift_C, lse_N[rows] = exponentials(
            logits_CV, hidden_ND[rows], low_VD, lse_N.dtype, cut(excluded, rows)
        )
        items_NK[rows] = _draw(logits_CV, uniform_NK[rows])
        share_C1 = (shift_C - lse_N[rows]).exp()[:, None]
        factor_CR = torch.mm(logits_CV, low_VR) * share_C1 + mean_R
        expected_N[rows] = (factor_CR * state_NR[rows]).sum(dim=1)
    items_NK.clamp_(max=len(item_embedding_VD))  # where pi is NaN
    log_prob_NK = chosen_logits(hidden_ND, item_embedding_VD, items_NK) - lse_N[:, None]
    return items_NK, log_prob_NK, expected_N


def _draw(weight_CV: Tensor, uniform_CK: Tensor) -> Tensor:
    """Items drawn in proportion to their weights, [C, K]. Letters: S blocks, I items of a block."""
    blocks = weight_CV.shape[1] // SAMPLING_BLOCK  # full ones; a shorter one may follow
    full = blocks * SAMPLING_BLOCK
    blocks_CSI = weight_CV[:, :full].view(len(weight_CV), blocks, SAMPLING_BLOCK)
    sums = [blocks_CSI.sum(dim=2, dtype=uniform_CK.dtype)]
    if full < weight_CV.shape[1]:
        sums.append(weight_CV[:, full:].sum(dim=1, keepdim=True, dtype=uniform_CK.dtype))
    total_CS = torch.cat(sums, dim=1)
    up_to_CS = total_CS.cumsum(dim=1)
    wanted_CK = uniform_CK * up_to_CS[:, -1:]
    block_CK = _first_above(up_to_CS, wanted_CK)
    wanted_CK = wanted_CK - (up_to_CS - total_CS).gather(1, block_CK)
    place_I = torch.arange(SAMPLING_BLOCK, device=weight_CV.device)
    index_CKI = block_CK[..., None] * SAMPLING_BLOCK + place_I
    is_there_CKI = index_CKI < weight_CV.shape[1]
    index_CKI.clamp_(max=weight_CV.shape[1] - 1)
    inside_CKI = weight_CV.gather(1, index_CKI.flatten(1)).view_as(index_CKI) * is_there_CKI
    inside_CKI = inside_CKI.to(uniform_CK.dtype)
    place_CK = _first_above(inside_CKI.cumsum(dim=2), wanted_CK[..., None]).squeeze(2)
    return block_CK * SAMPLING_BLOCK + place_CK + 1


def _first_above(cumulative: Tensor, wanted: Tensor) -> Tensor:
    """The index in each row [..., S] of the first entry above each wanted value, [..., K].

    Where rounding pushes a draw past the end, it is the first entry that equals the last: that
    entry has a positive share.
    """
    above = torch.searchsorted(cumulative, wanted, right=True)
    last = torch.searchsorted(cumulative, cumulative[..., -1:].contiguous())
    return above.minimum(last).clamp(max=cumulative.shape[-1] - 1)  # where they are NaN


@torch.no_grad()
def expected_score(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    state_NR: Tensor,
    factor_VR: Tensor,
    chunk: int | None = None,
    excluded: Excluded | None = None,
) -> Tensor:
    """The exact expected reward E_{v ~ pi(. | n)}[state_n . factor_v], [N].

    The expectation of the factors comes first, so that a product of width R replaces an
    element-wise pass over [chunk, V].

    state_NR, factor_VR: the reward model's, see models/reward_model.py.
    """
    num_items = len(item_embedding_VD)

    def expectation(hidden_CD: Tensor, state_CR: Tensor, excluded_C: Excluded | None) -> Tensor:
        lse_C, value_C = [], []
        for part, first in _parts(num_items):
            logits_CS = leave_out(hidden_CD @ item_embedding_VD[part].T, excluded_C, first=first)
            mean_CR = logits_CS.softmax(dim=1) @ factor_VR[part]
            value_C.append((mean_CR * state_CR).sum(dim=1))
            if first is not None:
                lse_C.append(logits_CS.logsumexp(dim=1))
        if not lse_C:
            return value_C[0]
        return _mean_over_parts(value_C, torch.stack(lse_C).softmax(dim=0))

    return map_chunks(
        expectation,
        hidden_ND,
        state_NR,
        excluded,
        chunk=chunk or positions_per_chunk(min(num_items, PART), 2),
    )


@torch.no_grad()
def kl_and_entropy(
    hidden_ND: Tensor,
    item_embedding_VD: Tensor,
    other_hidden_ND: Tensor,
    other_embedding_VD: Tensor,
    chunk: int | None = None,
    excluded: Excluded | None = None,
) -> Tensor:
    """Exact KL(pi || other) and entropy of pi per position in nats, [N, 2].

    Rounding to float32 moves the KL by about 5e-7 either way: a mean below 1e-6 is noise.
    """
    num_items, tables = len(item_embedding_VD), (item_embedding_VD, other_embedding_VD)

    def both(hidden_CD: Tensor, other_CD: Tensor, excluded_C: Excluded | None) -> Tensor:
        kl_C, entropy_C, lse_C, other_lse_C = [], [], [], []
        for part, first in _parts(num_items):
            own_SD, other_SD = (table_VD[part].to(hidden_CD.dtype) for table_VD in tables)
            logits = hidden_CD @ own_SD.T, other_CD @ other_SD.T
            for each_CS in logits:
                leave_out(each_CS, excluded_C, first=first)
            if first is not None:
                lse_C.append(logits[0].logsumexp(dim=1))
                other_lse_C.append(logits[1].logsumexp(dim=1))
            log_pi_CS, log_other_CS = (each_CS.log_softmax(dim=1) for each_CS in logits)
            pi_CS = log_pi_CS.exp()
            for each_CS in (log_pi_CS, log_other_CS):
                leave_out(each_CS, excluded_C, 0.0, first)  # times pi = 0, where -inf would be NaN
            kl_C.append(-log_other_CS.sub_(log_pi_CS).mul_(pi_CS).sum(dim=1))
            entropy_C.append(-log_pi_CS.mul_(pi_CS).sum(dim=1))
        if not lse_C:
            return torch.stack([kl_C[0], entropy_C[0]], dim=1)
        # The chain rule: of the part that an item is in, and of the item in its part.
        log_SC, log_other_SC = (torch.stack(lse).log_softmax(0) for lse in (lse_C, other_lse_C))
        kl_C = [kl + log - other for kl, log, other in zip(kl_C, log_SC, log_other_SC, strict=True)]
        entropy_C = [entropy - log for entropy, log in zip(entropy_C, log_SC, strict=True)]
        means = (_mean_over_parts(each, log_SC.exp()) for each in (kl_C, entropy_C))
        return torch.stack([*means], dim=1)

    return map_chunks(
        both,
        hidden_ND,
        other_hidden_ND,
        excluded,
        chunk=chunk or positions_per_chunk(min(num_items, PART), 5),
    )


def _parts(num_items: int) -> list[tuple[slice, int | None]]:
    """The parts of a large catalogue, and the number of items before each; None: it is whole."""
    if num_items <= PART:
        return [(slice(0, num_items), None)]
    return [(slice(first, first + PART), first) for first in range(0, num_items, PART)]


def _mean_over_parts(value_C: Sequence[Tensor], share_SC: Tensor) -> Tensor:
    """The mean of a value of each part by the parts' shares; NaN where these are."""
    return (share_SC * torch.where(share_SC > 0, torch.stack([*value_C]), 0)).sum(dim=0)
