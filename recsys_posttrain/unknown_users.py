"""Users of whom a policy knows no item: they get what is popular, or nothing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from recsys_posttrain.data.encode import as_text
from recsys_posttrain.data.repeats import removed_items
from recsys_posttrain.data.split import whole_sequences
from recsys_posttrain.evaluation.ranking import top_items
from recsys_posttrain.models.checkpoint import SavedPolicy
from recsys_posttrain.models.ranker import Ranker, SameForAll
from recsys_posttrain.types import Corpus, Sequences

UnknownUsers = Literal["popularity", "nothing"] | None  # None: nothing, and only users of the log


def with_users(corpus: Corpus, users: Sequence[str | int]) -> Corpus:
    """With those of the users that the log does not have, without an event, behind the others."""
    there = set(as_text(corpus.user_ids))
    missing = [each for each in dict.fromkeys(map(str, users)) if each not in there]
    offsets_N1 = corpus.sequences.offsets_N1
    offsets_N1 = torch.cat([offsets_N1, offsets_N1[-1:].expand(len(missing))])
    return replace(
        corpus,
        sequences=replace(corpus.sequences, offsets_N1=offsets_N1),
        user_ids=np.array([*corpus.user_ids.tolist(), *missing], dtype=object),
    )


def tops(
    ranker: Ranker, saved: SavedPolicy, sequences: Sequences, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """`top_items` of each history; after an empty one, the most popular."""
    empty_N = sequences.lengths_N == 0
    if empty_N.any() and not empty_N.all():
        known, unknown = (
            tops(ranker, saved, whole_sequences(sequences, rows_N.nonzero().squeeze(1)), k)
            for rows_N in (~empty_N, empty_N)
        )
        order_N = torch.cat([(~empty_N).nonzero(), empty_N.nonzero()]).squeeze(1).argsort()
        items_NK, score_NK = (torch.cat(both)[order_N] for both in zip(known, unknown, strict=True))
        return items_NK, score_NK
    removed = removed_items(sequences, saved.repeats, saved.never_shown_M)
    if saved.popularity_V is not None and empty_N.any():
        ranker = SameForAll(saved.popularity_V, saved.item_ids)
    return top_items(*ranker.scores(sequences), k, removed)
