"""A Q head that knows the catalogue, its frozen target, and items drawn for it to compare.

    Q(x, v) = 30 level(x) + direction(x) . e_v,   e_v: the policy's vector of item v, a constant

Level and direction are linear in the policy's state, so the head has no weights per item, and the
argmax of Q(x, .) is a product in chunks of positions. Q counts stars from the mean logged reward: a
new head, which is 0, says that every item is average.
"""

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import VALUE_RATE
from recsys_posttrain.algorithms.weights import scalar_head
from recsys_posttrain.eligibility import leave_out
from recsys_posttrain.losses.negatives import draw, excluded_draws
from recsys_posttrain.ops.logsumexp import How, logits_in_chunks, lowered
from recsys_posttrain.ops.softmax import chosen_logits
from recsys_posttrain.types import Batch


class QValues(NamedTuple):
    """Q of all items at each position, as the two factors that make it."""

    direction_ND: Tensor
    level_N1: Tensor
    vector_VD: Tensor

    def of(self, items_NK: Tensor) -> Tensor:
        """Q of given items, [N, K]."""
        return chosen_logits(self.direction_ND, self.vector_VD, items_NK) + self.level_N1

    def of_shared(self, items_K: Tensor) -> Tensor:
        """Q of items that all positions share, [N, K]."""
        return self.direction_ND @ self.vector_VD[items_K - 1].T + self.level_N1

    @torch.no_grad()
    def best(self, batch: Batch, logits_dtype: torch.dtype | None) -> Tensor:
        """The eligible item of the largest Q, [N, 1], of the batch's sample where it has one."""
        best_N, sample = torch.empty_like(batch.action_N), batch.catalogue_sample
        vectors_MD, excluded = self.vector_VD, batch.excluded
        if sample is not None:
            vectors_MD, excluded = sample.rows(vectors_MD), sample.excluded
        how = How(lowered(self.direction_ND, logits_dtype), None, excluded)
        for rows, value_CM, _ in logits_in_chunks(self.direction_ND, vectors_MD, how):
            best_N[rows] = value_CM.argmax(dim=1) + 1
        return best_N[:, None] if sample is None else sample.items_M[best_N - 1][:, None]


def q_heads(dim: int) -> dict[str, nn.Module]:
    """The head `q`, and its frozen copy `target`."""
    head = scalar_head(dim, dim + 1)
    return {"q": head, "target": deepcopy(head).requires_grad_(False)}


def q_values(name: str, batch: Batch, actors: Actors) -> QValues:
    """By the head of this name; where it is `q`, the policy's states learn from it."""
    output_ND1 = actors.head(name, batch, trains_policy=name == "q")
    vector_VD = actors.policy.item_embedding_VD.detach()
    return QValues(output_ND1[:, :-1], VALUE_RATE * output_ND1[:, -1:], vector_VD)


def renew_target(actors: Actors, every: int) -> None:
    """Copies `q` into `target` after every `every` optimiser steps."""
    if actors.step % every == 0:
        actors.heads["target"].load_state_dict(actors.heads["q"].state_dict())


def drawn_items(batch: Batch, actors: Actors, number: int) -> tuple[Tensor, Tensor]:
    """Items drawn evenly for all positions, [K], and which are eligible and not logged, [N, K]."""
    count = len(actors.policy.item_embedding_VD)
    even_V = torch.ones(count, dtype=torch.float64)
    items_K = draw(even_V, number, actors.generator).items_K.to(batch.action_N.device)
    counted_NK = items_K != batch.action_N[:, None]
    excluded = batch.excluded and excluded_draws(batch.excluded, items_K, count + 1)
    return items_K, leave_out(counted_NK, excluded, False)
