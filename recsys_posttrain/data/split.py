"""Which events may be trained on, which select, and which are reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from recsys_posttrain.types import Corpus, Sequences, Split, Targets


@dataclass(frozen=True)
class LeaveOneOut:
    """Protocol A, comparable with the SASRec literature (W.-C. Kang and J. McAuley, 2018).

    A user's last event is the test target and its history holds everything before, the
    validation event included; the last but one is the validation target; the rest is trained
    on. Users with fewer than 3 events are trained on only, with all their events.

    minimum_item_ratings: what the corpus is to be prepared with (`prepare`).
    """

    minimum_item_ratings: int = 5

    def split(self, corpus: Corpus) -> Split:
        """Split each user's events by position.

        Raises:
            UserError: nobody has 3 events.
        """
        from recsys_posttrain.types import Split

        lengths_N = corpus.sequences.lengths_N
        evaluated_N = lengths_N >= 3
        if not bool(evaluated_N.any()):
            raise UserError(
                f"{corpus.name} cannot be split: no user has 3 events after filtering "
                f"(the longest history has {int(lengths_N.max())}), and leave-one-out needs one "
                "to train on, one to validate and one to test; give data with longer histories "
                "or lower minimum_item_ratings."
            )
        train_N = lengths_N - 2 * evaluated_N.long()
        return Split(
            corpus=corpus,
            train=first_events(corpus.sequences, train_N),
            validation=_targets(corpus.sequences, evaluated_N, from_the_end=2),
            test=_targets(corpus.sequences, evaluated_N, from_the_end=1),
        )


def first_events(sequences: Sequences, keep_N: Tensor) -> Sequences:
    """The first keep_N[n] events of every sequence n; 0 leaves it empty."""
    import torch

    from recsys_posttrain.types import Sequences

    starts_N, lengths_N = sequences.offsets_N1[:-1], sequences.lengths_N
    position_E = torch.arange(len(sequences.items_E)) - starts_N.repeat_interleave(lengths_N)
    kept_E = position_E < keep_N.repeat_interleave(lengths_N)
    return Sequences(
        items_E=sequences.items_E[kept_E],
        rewards_E=sequences.rewards_E[kept_E],
        timestamps_E=sequences.timestamps_E[kept_E],
        offsets_N1=torch.cat([keep_N.new_zeros(1), keep_N.cumsum(0)]),
    )


def _targets(sequences: Sequences, evaluated_N: Tensor, from_the_end: int) -> Targets:
    from recsys_posttrain.types import Sequences, Targets

    users_N = evaluated_N.nonzero().squeeze(1)
    keep_N = (sequences.lengths_N - from_the_end) * evaluated_N
    kept = first_events(sequences, keep_N)
    # Users without a target keep no event, so dropping their rows is dropping their offsets.
    offsets_N1 = kept.offsets_N1[:1].new_zeros(len(users_N) + 1)
    offsets_N1[1:] = kept.offsets_N1[1:][users_N]
    position_N = sequences.offsets_N1[1:][users_N] - from_the_end
    return Targets(
        history=Sequences(kept.items_E, kept.rewards_E, kept.timestamps_E, offsets_N1),
        items_N=sequences.items_E[position_N],
        rewards_N=sequences.rewards_E[position_N],
        times_N=sequences.timestamps_E[position_N],
        users_N=users_N,
    )


def latest_events(sequences: Sequences, rows_N: Tensor, length: int) -> Sequences:
    """The last `length` events of the given sequences, in the given order."""
    import torch

    from recsys_posttrain.types import Sequences

    stop_N = sequences.offsets_N1[1:][rows_N]
    keep_N = sequences.lengths_N[rows_N].clamp(max=length)
    offsets_N1 = torch.cat([keep_N.new_zeros(1), keep_N.cumsum(0)])
    shift_N = stop_N - keep_N - offsets_N1[:-1]
    index_E = torch.arange(int(offsets_N1[-1])) + shift_N.repeat_interleave(keep_N)
    return Sequences(
        items_E=sequences.items_E[index_E],
        rewards_E=sequences.rewards_E[index_E],
        timestamps_E=sequences.timestamps_E[index_E],
        offsets_N1=offsets_N1,
    )
