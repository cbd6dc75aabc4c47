"""How a corpus is split into events to train on, to select on and to report.

torch is imported inside functions: the command line lists the splits and must start fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from recsys_posttrain.config import require, require_at_least
from recsys_posttrain.data.numbered import LOWER_MINIMUM
from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from recsys_posttrain.types import Corpus, Sequences, Split, Targets


class SplitConfig(Protocol):
    """A way to split a corpus: a frozen dataclass with these three members."""

    @property
    def minimum_item_ratings(self) -> int:
        """The fewest ratings with which `prepare` keeps an item in the corpus."""
        ...

    @property
    def label(self) -> str:
        """A few words for captions."""
        ...

    def split(self, corpus: Corpus) -> Split:
        """The parts of the corpus. Raises: UserError where a part would be empty."""
        ...


@dataclass(frozen=True)
class LeaveOneOut:
    """Protocol A, comparable with the SASRec literature (W.-C. Kang and J. McAuley, 2018).

    A user's last event is the test target, and its history holds everything before, the
    validation event included. The last but one is the validation target; the rest trains. All
    events of users with fewer than 3 train.

    minimum_item_ratings: the fewest ratings with which `prepare` keeps an item in the corpus.
    validation_positions: with more than 1, a user's events before the validation event are targets
        too, as long as one is left to train on, and the training log loses them: the test stays as
        it is, and numbers are no longer comparable with the literature's.
    """

    minimum_item_ratings: int = 5
    validation_positions: int = 1

    def __post_init__(self) -> None:
        require_at_least(self, 1, "validation_positions")

    @property
    def label(self) -> str:
        count = self.validation_positions
        return "leave-one-out (protocol A)" + (
            "" if count == 1 else f" with {count} validation events per user out of training"
        )

    def split(self, corpus: Corpus) -> Split:
        """Split each user's events by position. Raises: UserError where nobody has 3 events."""
        from recsys_posttrain.types import Split

        lengths_N = corpus.sequences.lengths_N
        evaluated_N = lengths_N >= 3
        if not bool(evaluated_N.any()):
            raise UserError(
                f"{corpus.name} cannot be split: no user has 3 events after filtering "
                f"(the longest history has {int(lengths_N.max())}), and leave-one-out needs one "
                "to train on, one to validate and one to test; give data with longer histories "
                f"or {LOWER_MINIMUM}."
            )
        validated_N = (lengths_N - 2).clamp(min=0, max=self.validation_positions)
        train = first_events(corpus.sequences, lengths_N - validated_N - evaluated_N.long())
        end_N = corpus.sequences.offsets_N1[1:]
        return Split(
            corpus=corpus,
            train=train,
            validation=targets_at(corpus, events_before(end_N - 1, validated_N)),
            test=targets_at(corpus, end_N[evaluated_N] - 1),
            reward=train,
        )


def first_events(sequences: Sequences, keep_N: Tensor) -> Sequences:
    """The first keep_N[n] events of every sequence n; 0 leaves it empty."""
    return slices(sequences, sequences.offsets_N1[:-1], keep_N)


def events_before(end_N: Tensor, count_N: Tensor) -> Tensor:
    """The indices of the count_N[n] events before each of end_N, in order."""
    import torch

    first_N = end_N - count_N - (count_N.cumsum(0) - count_N)
    return torch.arange(int(count_N.sum())) + first_N.repeat_interleave(count_N)


def latest_events(sequences: Sequences, rows_N: Tensor, length: int) -> Sequences:
    """The last `length` events of the given sequences, in the given order."""
    keep_N = sequences.lengths_N[rows_N].clamp(max=length)
    return slices(sequences, sequences.offsets_N1[1:][rows_N] - keep_N, keep_N)


def whole_sequences(sequences: Sequences, rows_N: Tensor) -> Sequences:
    """The given sequences, in the given order."""
    return slices(sequences, sequences.offsets_N1[rows_N], sequences.lengths_N[rows_N])


def targets_at(corpus: Corpus, event_N: Tensor) -> Targets:
    """Targets for the events at given indices of the corpus, each with its user's whole history.

    An event on an item that is never shown, or not at that time, is left out, and where the corpus
    has repeats="never" one on an item in its history.

    Raises: UserError where that leaves none.
    """
    import torch

    from recsys_posttrain.data.available import open_events, with_a_choice
    from recsys_posttrain.data.never_shown import shown_events
    from recsys_posttrain.data.repeats import had_before
    from recsys_posttrain.logged import rows_of
    from recsys_posttrain.types import Targets

    sequences, asked = corpus.sequences, len(event_N)
    event_N = open_events(corpus, shown_events(corpus, event_N))
    shown = len(event_N)
    if corpus.repeats == "never":
        event_N = event_N[~had_before(_before(sequences, event_N), sequences.items_E[event_N])]
        require(
            len(event_N) or not shown,
            f"{corpus.name}: all {shown:,} targets are of items that their users had before, which "
            'repeats="never" does not show again; allow repeats (--repeats allowed).',
        )
    users_N = torch.searchsorted(sequences.offsets_N1, event_N, right=True) - 1
    targets = Targets(
        history=_before(sequences, event_N),
        items_N=sequences.items_E[event_N],
        rewards_N=sequences.rewards_E[event_N],
        times_N=sequences.timestamps_E[event_N],
        users_N=users_N,
        repeats=corpus.repeats,
        unshowable=shown - len(event_N),
        catalogue=corpus.catalogue,
        propensities_N=rows_of(sequences.propensities_E, event_N),
        signals=rows_of(sequences.signals, event_N),
        never_shown_M=corpus.never_shown_M,
        windows=corpus.windows,
        regions_N=rows_of(sequences.regions_E, event_N),
        masked=asked - shown,
    )
    return with_a_choice(targets, corpus.num_items)


def _before(sequences: Sequences, event_N: Tensor) -> Sequences:
    """The history of each event: all earlier events of its user."""
    import torch

    users_N = torch.searchsorted(sequences.offsets_N1, event_N, right=True) - 1
    first_N = sequences.offsets_N1[users_N]
    return slices(sequences, first_N, event_N - first_N)


def untrained_items(data: Split, targets: Targets) -> Tensor:
    """Which targets are of an item without a training event, bool [N].

    They stay targets, since a deployed policy meets such items too; their vectors are untrained.
    """
    import torch

    count_V = torch.bincount(data.train.items_E - 1, minlength=data.corpus.num_items)
    return count_V[targets.items_N - 1] == 0


def check_shares(split: SplitConfig, *names: str) -> None:
    """Raises UserError unless these fields of the split are above 0 and sum to 1.

    A split checks this when it splits, not when it is configured: --set changes one share at a
    time.
    """
    shares = [getattr(split, name) for name in names]
    written = ", ".join(f"{name}={share:g}" for name, share in zip(names, shares, strict=True))
    require(
        min(shares) > 0 and abs(sum(shares) - 1) < 1e-9,
        f"{type(split).__name__}: the shares {written} must each be above 0 and sum to 1, not to "
        f"{sum(shares):g}.",
    )


def slices(sequences: Sequences, start_N: Tensor, length_N: Tensor) -> Sequences:
    """New sequences; the n-th holds the flat events [start_N[n], start_N[n] + length_N[n])."""
    import torch

    from recsys_posttrain.logged import rows_of
    from recsys_posttrain.types import Sequences

    offsets_N1 = torch.cat([length_N.new_zeros(1), length_N.cumsum(0)])
    shift_N = start_N - offsets_N1[:-1]
    index_E = torch.arange(int(offsets_N1[-1])) + shift_N.repeat_interleave(length_N)
    return Sequences(
        items_E=sequences.items_E[index_E],
        rewards_E=sequences.rewards_E[index_E],
        timestamps_E=sequences.timestamps_E[index_E],
        offsets_N1=offsets_N1,
        propensities_E=rows_of(sequences.propensities_E, index_E),
        signals=rows_of(sequences.signals, index_E),
        shown=rows_of(sequences.shown, index_E),
        regions_E=rows_of(sequences.regions_E, index_E),
    )
