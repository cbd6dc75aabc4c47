"""Draws what stands for a large catalogue in post-training (catalogue_sample.py), once per step.

    q(v) = (1 - EVEN) root(v) / sum of root + EVEN / V
    root(v)^2 = mean over contexts x of the training log of pi_ref(v | x)^2

Of all proposals that the positions of a batch can share, root has the least mean variance of
Z_hat / Z under pi_ref: that is sum over v of pi_ref(v | x)^2 / (K q(v)), less 1 / K. So the items
that pi_ref likes best somewhere are nearly always drawn. The even part lets every item be drawn,
and bounds its weight by V / (EVEN K).

Source: importance sampling of a sum; the optimal proposal by Cauchy and Schwarz. Departures from
sampled softmax (losses/sampled_softmax.py): the proposal follows pi_ref, not popularity.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from recsys_posttrain.catalogue_sample import CatalogueSample
from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.losses.negatives import Negatives, draw, excluded_draws
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.ops.logsumexp import How, cut, exponentials, logits_in_chunks, lowered
from recsys_posttrain.types import Batch

EVEN = 0.25
CONTEXTS = 1024  # of the training log, about


@torch.no_grad()
def proposal_of(reference: Policy, batches: Iterable[Batch]) -> Tensor:
    """q, [V], float64, from about CONTEXTS positions, evenly spread over the batches."""
    batches = list(batches)
    every = max(1, sum(len(batch.action_N) for batch in batches) // CONTEXTS)
    weight_VD = reference.item_embedding_VD
    square_V = torch.zeros(len(weight_VD), dtype=torch.float64, device=weight_VD.device)
    for batch in (batch.to(weight_VD.device) for batch in batches):
        hidden_ND = reference.hidden_states(batch)[::every]
        excluded = batch.excluded and batch.excluded.every(every)
        how = How(lowered(hidden_ND, reference.logits_dtype), None, excluded)
        for rows, logits_CV, low_VD in logits_in_chunks(hidden_ND, weight_VD, how):
            shift_C, lse_C = exponentials(
                logits_CV, hidden_ND[rows], low_VD, hidden_ND.dtype, cut(excluded, rows)
            )
            share_C1 = (shift_C - lse_C).exp()[:, None].to(logits_CV)
            square_V += logits_CV.mul_(share_C1).square_().sum(dim=0).double()
    reference.clear_cache()
    root_V = square_V.sqrt().cpu()
    return (1 - EVEN) * root_V / root_V.sum() + EVEN / len(root_V)


def with_sample(batch: Batch, share_V: Tensor, number: int, generator: torch.Generator) -> Batch:
    """The batch with `number` draws from the proposal in place of the catalogue."""
    return batch._replace(
        catalogue_sample=sample_of(batch, draw(share_V, number, generator), len(share_V))
    )


def sample_of(batch: Batch, drawn: Negatives, num_items: int) -> CatalogueSample:
    """The sample that consists of these draws and of the batch's logged items."""
    device = batch.action_N.device
    drawn = Negatives(*(each.to(device) for each in drawn))
    items_K, times_K = drawn.items_K.unique_consecutive(return_counts=True)
    expected_K = drawn.expected_K[times_K.cumsum(dim=0) - 1]
    logged_U, index_N = batch.action_N.unique(return_inverse=True)
    places = len(items_K) + len(logged_U)
    found = excluded_draws(_with_own(batch), items_K, num_items + 1)
    logged = torch.arange(len(items_K) + 1, places + 1, device=device)
    everywhere = [logged] if found.everywhere_M is None else [found.everywhere_M, logged]
    excluded = found._replace(everywhere_M=torch.cat(everywhere), but_N=logged[index_N])
    log_weight_K = (times_K / expected_K).log().float()
    return CatalogueSample(
        torch.cat([items_K, logged_U]),
        torch.cat([log_weight_K, log_weight_K.new_zeros(len(logged_U))]),
        excluded,
    )


def _with_own(batch: Batch) -> Excluded:
    """What is not eligible at each position, with its logged item, which `but_N` no longer keeps:
    that has a place of its own."""
    count = len(batch.action_N)
    own_N1 = torch.arange(count + 1, device=batch.action_N.device)
    if batch.excluded is None:
        return Excluded(batch.action_N, own_N1)
    offsets_N1 = batch.excluded.offsets_N1 + own_N1
    items_E = batch.action_N.new_empty(int(offsets_N1[-1]))
    is_own_E = torch.zeros_like(items_E, dtype=torch.bool)
    is_own_E[offsets_N1[1:] - 1] = True
    items_E[is_own_E], items_E[~is_own_E] = batch.action_N, batch.excluded.items_E
    return batch.excluded._replace(items_E=items_E, offsets_N1=offsets_N1, but_N=None)
