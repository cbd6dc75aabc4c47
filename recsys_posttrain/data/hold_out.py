"""A block of users held out for good from whatever anybody looks at, around any split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recsys_posttrain.config import require
from recsys_posttrain.data.split import (
    LeaveOneOut,
    SplitConfig,
    first_events,
    slices,
    targets_at,
)

if TYPE_CHECKING:
    from torch import Tensor

    from recsys_posttrain.types import Corpus, Sequences, Split, Targets


@dataclass(frozen=True)
class HoldOut:
    """Users who are in no part of the split: nothing is trained, chosen or reported on them.

    Their last events are the targets of `run --eval-split final`, for a claim that is already
    made. A user is held out by a hash of its id, whatever the seed and whoever else is there. Which
    items are kept is counted over all users.

    within: the split of all others. share: of the users.
    """

    within: SplitConfig = LeaveOneOut()
    share: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.share < 1, f"HoldOut: share={self.share} must be between 0 and 1.")

    @property
    def minimum_item_ratings(self) -> int:
        return self.within.minimum_item_ratings

    @property
    def label(self) -> str:
        return f"{self.within.label}; {self.share:g} of the users held out for good"

    def split(self, corpus: Corpus) -> Split:
        """Raises: UserError where nobody with two events is held out, or as the split within."""
        import torch

        from recsys_posttrain.types import Split

        inner, sequences = self.within.split(corpus), corpus.sequences
        is_held_N = torch.tensor([_place(user) < self.share for user in corpus.user_ids.tolist()])
        final_N = (is_held_N & (sequences.lengths_N >= 2)).nonzero().squeeze(1)
        require(
            len(final_N),
            f"HoldOut: share={self.share:g} of the {len(sequences)} users of {corpus.name} holds "
            "out nobody with two events; give a larger share or data with more users.",
        )

        def others(part: Sequences) -> Sequences:
            return first_events(part, part.lengths_N * ~is_held_N)

        train = others(inner.train)
        validation, test = (
            targets_where(each, ~is_held_N[each.users_N]) for each in (inner.validation, inner.test)
        )
        return Split(
            corpus,
            train,
            validation,
            test,
            train if inner.reward is inner.train else others(inner.reward),
            None if inner.judge is None else others(inner.judge),
            targets_at(corpus, sequences.offsets_N1[1:][final_N] - 1),
        )


def targets_where(targets: Targets, keep_N: Tensor) -> Targets:
    """Those of the targets that are True."""
    from recsys_posttrain.logged import rows_of

    history = targets.history
    return replace(
        targets,
        history=slices(history, history.offsets_N1[:-1][keep_N], history.lengths_N[keep_N]),
        items_N=targets.items_N[keep_N],
        rewards_N=targets.rewards_N[keep_N],
        times_N=targets.times_N[keep_N],
        users_N=targets.users_N[keep_N],
        propensities_N=rows_of(targets.propensities_N, keep_N),
        signals=rows_of(targets.signals, keep_N),
        regions_N=rows_of(targets.regions_N, keep_N),
    )


def _place(user_id: object) -> float:
    """Where a user lies between 0 and 1."""
    return int.from_bytes(hashlib.sha256(str(user_id).encode()).digest()[:8]) / 2**64
