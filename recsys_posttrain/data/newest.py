"""The newest events of a log, to continue on, with a share of what came before."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.data.notes import counted
from recsys_posttrain.data.split import first_events, targets_at
from recsys_posttrain.logged import Signals
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Corpus, Sequences, Split, Targets

TRAINED, VALIDATED = 0.8, 0.9  # of the new events, by time; the rest are targets of the test
MOST_TARGETS = 5000  # in each part
PART = "part"  # the signal of the training log that says which events count as what
NEW, OLD, NEITHER = 1.0, 2.0, 0.0


@dataclass(frozen=True, eq=False)
class Newest:
    """data: what is trained on, and new targets to validate and to test. Its training log holds the
    users with new events, and as many others as the replay asks for, with the signal `PART`.
    old: targets of the past, of which no training event is one; None: the log has no past."""

    data: Split
    old: Targets | None
    new_events: int
    old_events: int


def newest(corpus: Corpus, since: int, replay: float, seed: int = 0) -> Newest:
    """The events after `since`, in seconds: the first 80% of them by time are trained on, the next
    10% and the last 10% are validation and test targets, each with all that its user did before.

    replay: the share of the loss that is on events up to `since`. Old targets are the last of these
    of users who have an earlier one; they are not replayed.

    Raises: UserError where too few new events are left for each part, or none is there to replay.
    """
    sequences = corpus.sequences
    count = len(sequences.items_E)
    user_E = torch.repeat_interleave(sequences.lengths_N)
    place_E = torch.arange(count) - sequences.offsets_N1[user_E]
    is_new_E = sequences.timestamps_E > since
    new_N = is_new_E.nonzero().squeeze(1)
    # Of equal times the first in the log: a file may have whole days alone.
    new_N = new_N[corpus.times_E[new_N].argsort(stable=True)]
    cuts = [round(len(new_N) * share) for share in (TRAINED, VALIDATED)]
    trained_N, *later = (part_N.sort().values for part_N in new_N.tensor_split(cuts))
    is_trained_E = ~is_new_E
    is_trained_E[trained_N] = True
    keep_N = torch.bincount(user_E[is_trained_E], minlength=len(sequences))

    has_new_N = torch.bincount(user_E[trained_N], minlength=len(sequences)) > 0
    is_row_N = has_new_N & (keep_N >= 2)
    later = [event_N[place_E[event_N] > 0] for event_N in later]
    require(
        bool(is_row_N.any()) and min(map(len, later)) > 0,
        f"{corpus.name}: {counted(len(new_N), 'new event')} on known items are too few to train on,"
        " to validate and to test, of users with an earlier one; give a log of more days.",
    )
    last_N = torch.bincount(user_E[~is_new_E], minlength=len(sequences)) - 1
    old_N = (sequences.offsets_N1[:-1] + last_N)[last_N > 0]
    old_N = _some(old_N, derived_seed(seed, "old targets"))

    part_E = torch.where(is_new_E, NEW, OLD)
    part_E[old_N] = NEITHER
    labelled = replace(sequences, signals=_with_part(sequences.signals, part_E))
    is_row_N |= _replayed(is_row_N, ~has_new_N & (keep_N >= 2), replay, seed)
    train = first_events(labelled, keep_N * is_row_N)
    can_replay = bool(((train.signals.of(PART) == OLD) & (_places(train) > 0)).any())  # type: ignore[union-attr]
    require(
        replay == 0 or can_replay,
        f"{corpus.name}: no user has two events from before the new ones, so there is nothing to "
        "replay; give the log of the past with --past, or --replay 0.",
    )
    validation, test = (
        targets_at(corpus, _some(event_N, derived_seed(seed, "new targets", part)))
        for part, event_N in zip(("validation", "test"), later, strict=True)
    )
    old = targets_at(corpus, old_N) if len(old_N) else None
    data = Split(corpus, train, validation, test, train)
    return Newest(data, old, len(new_N), count - len(new_N))


def _places(sequences: Sequences) -> Tensor:
    """The place of each event in its sequence, from 0."""
    first_E = sequences.offsets_N1[:-1].repeat_interleave(sequences.lengths_N)
    return torch.arange(len(sequences.items_E)) - first_E


def _replayed(is_new_N: Tensor, may_be_N: Tensor, replay: float, seed: int) -> Tensor:
    """Users without new events, so many that with those who have some they are the share `replay`
    of all; all of them where there are fewer."""
    wanted = round(replay / (1 - replay) * int(is_new_N.sum()))
    chosen_N = _some(may_be_N.nonzero().squeeze(1), derived_seed(seed, "replayed"), wanted)
    is_chosen_N = torch.zeros_like(may_be_N)
    is_chosen_N[chosen_N] = True
    return is_chosen_N


def _some(values_N: Tensor, seed: int, count: int = MOST_TARGETS) -> Tensor:
    """`count` of the values at random, in their order, or all of them."""
    if len(values_N) <= count:
        return values_N
    generator = torch.Generator().manual_seed(seed)
    return values_N[torch.randperm(len(values_N), generator=generator)[:count].sort().values]


def _with_part(signals: Signals | None, part_E: Tensor) -> Signals:
    if signals is None:
        return Signals((PART,), part_E[:, None])
    return Signals((*signals.names, PART), torch.cat([signals.values, part_E[:, None]], dim=1))
