"""Whether users choose items again, and what leaves a ranking where they do not.

Where repeats are "never", an item that a user had before is not shown to that user again: it is
left out of rankings, top lists, expectations and rollouts, and an event on it is no target, because
no policy under that rule can show it. Where they are "allowed", nothing is left out. The rule is
measured in the log, unless it is given.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from recsys_posttrain.eligibility import Excluded, excluded_spans
from recsys_posttrain.types import Corpus, Repeats, Sequences, Split, Targets
from recsys_posttrain.windows import Windows

# The least share of repeated choices that counts as a habit of the users. Below it they are slips
# of the log, such as an item that was rated twice; in MovieLens there are none.
HABIT = 0.01


def repeated_share(sequences: Sequences) -> float:
    """The share of events on an item that their user had before."""
    pair_E = torch.repeat_interleave(sequences.lengths_N)
    pair_E.mul_(int(sequences.items_E.max()) + 1).add_(sequences.items_E)
    pairs = pair_E.numpy()
    pairs.sort()  # in place: of a large log each copy counts
    return int((pairs[1:] == pairs[:-1]).sum()) / len(pairs)


def measured_repeats(sequences: Sequences) -> Repeats:
    return "allowed" if repeated_share(sequences) >= HABIT else "never"


class Rule(NamedTuple):
    """What is not eligible for an action, which itself always is."""

    history: bool = False  # what its user had before
    never_shown_M: Tensor | None = None  # items that nobody is shown, int64, 1..V, ascending
    windows: Windows | None = None  # when items may be shown

    @property
    def leaves_out_nothing(self) -> bool:
        return not self.history and self.never_shown_M is None and self.windows is None


EVERYTHING = Rule()


def rule_of(corpus: Corpus) -> Rule:
    """What a policy's softmax leaves out."""
    is_had = corpus.repeats == "never"
    rule = Rule(is_had, corpus.never_shown_M, corpus.windows)
    return EVERYTHING if corpus.catalogue == "all" else rule


def removed_items(
    histories: Sequences,
    repeats: Repeats,
    never_shown_M: Tensor | None,
    windows: Windows | None = None,
    times_N: Tensor | None = None,
    regions_N: Tensor | None = None,
) -> Excluded:
    """What may not be shown after each history, at these times and in these regions."""
    masks = never_shown_M, None, windows, *_when(windows, times_N, regions_N)
    if repeats == "never":
        return Excluded(histories.items_E, histories.offsets_N1, *masks)
    return Excluded(histories.items_E[:0], torch.zeros_like(histories.offsets_N1), *masks)


def _when(
    windows: Windows | None, times_N: Tensor | None, regions_N: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """What windows ask for: nothing where there are none, regions where they are by region."""
    if windows is None:
        return None, None
    return times_N, regions_N if windows.regions else None


def removed_for(targets: Targets) -> Excluded:
    """What may not be shown at each target: it leaves rankings, lists and expectations."""
    mask = targets.never_shown_M, targets.windows, targets.times_N, targets.regions_N
    return removed_items(targets.history, targets.repeats, *mask)


def excluded_for(targets: Targets) -> Excluded | None:
    """What a policy's softmax leaves out at each target; None: nothing."""
    return None if targets.catalogue == "all" else removed_for(targets)


def not_eligible(sequences: Sequences, event_N: Tensor, rule: Rule) -> Excluded | None:
    """What is not eligible for the actions of these events, flat indices; None: all items are."""
    if rule.leaves_out_nothing:
        return None
    nothing_N1 = torch.zeros(len(event_N) + 1, dtype=torch.int64)
    nothing = Excluded(sequences.items_E[:0], nothing_N1)
    seen = seen_before(sequences, event_N) if rule.history else nothing
    if rule.never_shown_M is None and rule.windows is None:
        return seen
    regions_N = None if sequences.regions_E is None else sequences.regions_E[event_N]
    when = _when(rule.windows, sequences.timestamps_E[event_N], regions_N)
    own_N = sequences.items_E[event_N]
    return Excluded(*seen[:2], rule.never_shown_M, own_N, rule.windows, *when)


def seen_before(sequences: Sequences, event_N: Tensor) -> Excluded:
    """What users had before these events, flat indices, without the item of the event itself."""
    row_N = torch.searchsorted(sequences.offsets_N1, event_N, right=True) - 1
    first_N = sequences.offsets_N1[row_N]
    seen = excluded_spans(sequences.items_E, first_N, event_N - first_N)
    if not sequences.has_repeats:
        return seen
    length_N = seen.offsets_N1.diff()
    is_other_E = seen.items_E != sequences.items_E[event_N].repeat_interleave(length_N)
    kept_E1 = torch.nn.functional.pad(is_other_E.cumsum(dim=0), (1, 0))
    return Excluded(seen.items_E[is_other_E], kept_E1[seen.offsets_N1])


def repeats_sentence(data: Split, is_measured: bool) -> str:
    """How often users repeat a choice, which rule follows, and what it leaves out."""
    corpus, left_out = data.corpus, []
    rule = "is never shown again" if corpus.repeats == "never" else "may be shown again"
    effect = ""
    for part, targets in (("validation", data.validation), ("test", data.test)):
        if targets.unshowable:
            asked = targets.unshowable + len(targets.items_N)
            left_out.append(f"{targets.unshowable:,} of {asked:,} {part} targets")
    if left_out:
        effect = f"; {' and '.join(left_out)} are left out: their users had them before"
    how = "as measured" if is_measured else "as given"
    share = repeated_share(corpus.sequences)
    return f"{share:.1%} of choices repeat an item: what a user had {rule} ({how}){effect}"


def had_before(histories: Sequences, items_N: Tensor) -> Tensor:
    """Which of the items are in the history of their row, bool [N]."""
    row_E = torch.repeat_interleave(histories.lengths_N)
    is_same_E = histories.items_E == items_N[row_E]
    return torch.bincount(row_E[is_same_E], minlength=len(items_N)) > 0
