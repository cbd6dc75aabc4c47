"""What people expect of items that they did not choose: more for the judge to learn from.

A log holds what people chose, and they choose what they like, so a reward model has no evidence of
the rest. A dataset that asked people (`MovieLensBeliefs.expected`) has some. The judge learns from
it beside its users' ratings, because a policy is judged on what it would show, chosen or not. The
policy and its own reward model never see it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch

from recsys_posttrain.data.encode import numbers
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.types import Sequences, Split

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class AskedPeople(Protocol):
    """A dataset that knows what people expect of items that they have not chosen."""

    def expected(self) -> pd.DataFrame:
        """Columns user_id, item_id, rating (in the log's unit) and timestamp (seconds)."""


def with_expected(data: Split, dataset: object) -> Split:
    """The split whose judge also learns from what its users expect, as events at the time when they
    were asked; as it is where the split has no judge, or the dataset asked nobody.

    One line says how many, and how many were left out: of the judge's users none, of items that the
    catalogue does not have, or that the user rated (the rating says more).
    """
    if not _is_read(data, dataset):
        return data
    assert data.judge is not None
    assert isinstance(dataset, AskedPeople)
    frame = dataset.expected()
    corpus = data.corpus
    user_E = numbers(corpus.user_ids, frame["user_id"].to_numpy())[1:] - 1
    is_judge_E = (user_E >= 0) & (data.judge.lengths_N[user_E.clamp(min=0)] > 0)
    item_E = numbers(corpus.item_ids, frame["item_id"].to_numpy())[1:]
    pair_E = user_E * (corpus.num_items + 1) + item_E
    log = data.judge
    rated_E = torch.repeat_interleave(log.lengths_N) * (corpus.num_items + 1) + log.items_E
    is_rated_E = torch.isin(pair_E, rated_E)
    kept_E = (is_judge_E & (item_E > 0) & ~is_rated_E).nonzero().squeeze(1)
    stars = corpus.reward_scale.to_stars(frame["rating"].to_numpy(np.float64))
    judge = _merged(
        log,
        user_E[kept_E],
        item_E[kept_E],
        torch.from_numpy(np.asarray(stars, np.float32))[kept_E],
        torch.tensor(frame["timestamp"].to_numpy(np.int64))[kept_E],
    )
    elsewhere = int((~is_judge_E).sum())
    unknown, rated = (is_judge_E & (item_E == 0)), (is_judge_E & (item_E > 0) & is_rated_E)
    note(
        f"{corpus.name}: the judge also learns from {counted(len(kept_E), 'expectation')} of "
        f"{counted(len(user_E[kept_E].unique()), 'person').replace('persons', 'people')}; left "
        f"out: {elsewhere:,} of others than its users, {int(unknown.sum()):,} of items that are "
        f"not in the catalogue, {int(rated.sum()):,} of items that the user also rated"
    )
    return replace(data, judge=judge)


def expected_digest(data: Split, dataset: object) -> str:
    """SHA-256 of what the judge of `with_expected` learns from; empty where that is its users' log
    alone, which the hash of the data covers."""
    if not _is_read(data, dataset):
        return ""
    assert data.judge is not None
    log = data.judge
    columns = log.items_E, log.rewards_E, log.timestamps_E, log.offsets_N1
    return hashlib.sha256(b"".join(each.numpy().tobytes() for each in columns)).hexdigest()


def _is_read(data: Split, dataset: object) -> bool:
    has_rewards = not data.corpus.reward_scale.missing
    return data.judge is not None and has_rewards and isinstance(dataset, AskedPeople)


def _merged(
    log: Sequences, user_E: Tensor, item_E: Tensor, reward_E: Tensor, time_E: Tensor
) -> Sequences:
    """The log with further events of its sequences, by time; the log's come first where it is
    equal. Without the columns that a judge does not read."""
    row_E = torch.cat([torch.repeat_interleave(log.lengths_N), user_E])
    both_time_E = torch.cat([log.timestamps_E, time_E])
    order_E = both_time_E.argsort(stable=True)
    order_E = order_E[row_E[order_E].argsort(stable=True)]
    length_N = torch.bincount(row_E, minlength=len(log))
    return Sequences(
        torch.cat([log.items_E, item_E])[order_E],
        torch.cat([log.rewards_E, reward_E])[order_E],
        both_time_E[order_E],
        torch.cat([length_N.new_zeros(1), length_N.cumsum(0)]),
    )
