"""Negative items, drawn from a proposal q once per step and shared by all its positions.

    q(v) proportional to (count(v) + 1)^exponent

Exponent 0 is uniform, 1 is popularity. The added 1 lets every item be drawn; otherwise estimates
from the draws would be biased for items without training events.

The K draws are stratified: draw k inverts the cumulative proposal at a point drawn evenly from
[k / K, (k + 1) / K). As with independent draws, item v is drawn K q(v) times in expectation, but
the number varies less: K = V uniform draws are the catalogue itself.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from recsys_posttrain.eligibility import Excluded, excluded_spans
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.types import Batch


class Negatives(NamedTuple):
    """The K draws of one step."""

    items_K: Tensor  # int64, 1..V, ascending; the same item may be drawn several times
    expected_K: Tensor  # K q(v): how many times each of them is drawn in expectation


class Candidates(NamedTuple):
    """The logged item of every position, and the negatives that all positions share."""

    items_N: Tensor  # int64, 1..V: the logged items
    chosen_ND: Tensor  # vectors of the logged items
    negatives: Negatives
    negative_KD: Tensor  # vectors of the negatives
    # Which draws are not eligible at a position: numbers 1..K in place of items; None: all are.
    excluded: Excluded | None = None


def proposal(count_V: Tensor, exponent: float) -> Tensor:
    """The proposal q, [V], float64.

    count_V: number of training events of each item.
    """
    weight_V = (count_V.double() + 1) ** exponent
    return weight_V / weight_V.sum()


def draw(share_V: Tensor, number: int, generator: torch.Generator) -> Negatives:
    """Draws `number` items, stratified, from the proposal `share_V`."""
    cumulative_V = share_V.cumsum(dim=0)
    place_K = torch.rand(number, generator=generator, dtype=share_V.dtype)
    point_K = (torch.arange(number) + place_K) / number
    # Scaling by the last entry keeps rounding from pushing a draw past the catalogue.
    index_K = torch.searchsorted(cumulative_V, point_K * cumulative_V[-1], right=True)
    index_K = index_K.clamp_(max=len(share_V) - 1)
    return Negatives(index_K + 1, number * share_V[index_K])


def candidates(policy: Policy, batch: Batch, negatives: Negatives) -> Candidates:
    """The logged items of a batch and its negatives, with their vectors, looked up together.

    The gradient of this look-up is sparse: it has only the rows that were looked up. The one dense
    gradient that AdamW needs, and its pass over it, are all that a step costs per item of the
    catalogue.
    """
    weight: Tensor = policy.backbone.item_embedding.weight  # type: ignore[union-attr,assignment]
    negatives = Negatives(negatives.items_K.to(weight.device), negatives.expected_K.to(weight))
    items_N = batch.action_N
    asked = torch.cat([items_N, negatives.items_K])
    looked_up = functional.embedding(asked, weight, sparse=weight.is_leaf)  # else it is computed
    chosen_ND, negative_KD = looked_up[: len(items_N)], looked_up[len(items_N) :]
    excluded = batch.excluded and excluded_draws(batch.excluded, negatives.items_K, len(weight))
    return Candidates(items_N, chosen_ND, negatives, negative_KD, excluded)


def excluded_draws(excluded: Excluded, items_K: Tensor, numbers: int) -> Excluded:
    """`excluded` with the numbers 1..K of the draws of each item in place of the item.

    items_K: ascending. numbers: V + 1.
    """
    drawn_V1 = torch.bincount(items_K, minlength=numbers)
    first_V1 = drawn_V1.cumsum(dim=0) - drawn_V1
    draw_K = torch.arange(1, len(items_K) + 1, device=items_K.device)

    def draws_of(items_E: Tensor) -> Excluded:
        return excluded_spans(draw_K, first_V1[items_E], drawn_V1[items_E])

    found, everywhere_M = draws_of(excluded.items_E), excluded.everywhere_M
    # Where the logged item is one of them, its own draws drop in any case.
    everywhere_M = None if everywhere_M is None else draws_of(everywhere_M).items_E
    windows = excluded.windows
    if windows is not None:
        windows = windows.repeated(lambda items_U: draws_of(items_U).items_E, drawn_V1)
    offsets_N1 = found.offsets_N1[excluded.offsets_N1]
    masks = everywhere_M, None, windows, excluded.times_N, excluded.regions_N
    return Excluded(found.items_E, offsets_N1, *masks)
