"""Events in another numbering of the items: joined by id, never by position.

Inside, items are 1..V in the order in which one file named them first. A file with the same events
in another order, or with one more, numbers them otherwise. So whatever was trained carries the ids
of its items, and whatever it meets is brought into its numbering here. Ids compare as they are
written: the text "1" and the number 1 are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.data.hold_out import targets_where
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.logged import rows_of
from recsys_posttrain.types import Corpus, Sequences, Split, Targets

NAMED = 3  # of what is left out


def as_text(ids: np.ndarray) -> list[str]:
    return [str(each) for each in ids.tolist()]


def same_items(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether both number the same items in the same way."""
    return one is other or as_text(one) == as_text(other)


def numbers(known: np.ndarray, wanted: np.ndarray) -> Tensor:
    """Of each wanted id, its number 1..V among the known ones, or 0; behind a 0 for padding."""
    number_of = {each: number for number, each in enumerate(as_text(known), start=1)}
    return torch.tensor([0, *(number_of.get(each, 0) for each in as_text(wanted))])


@dataclass(frozen=True, eq=False)
class Encoder:
    """From the numbering of a corpus to another. number_V1[v]: the new number of item v, or 0."""

    item_ids: np.ndarray
    number_V1: Tensor

    def sequences(self, sequences: Sequences) -> Sequences:
        """Without the events on items that have no number; a sequence may end up empty."""
        items_E = self.number_V1[sequences.items_E]
        kept_E = items_E > 0
        row_E = torch.repeat_interleave(sequences.lengths_N)[kept_E]
        length_N = torch.bincount(row_E, minlength=len(sequences))
        shown = rows_of(sequences.shown, kept_E.nonzero().squeeze(1))
        return Sequences(
            items_E[kept_E],
            sequences.rewards_E[kept_E],
            sequences.timestamps_E[kept_E],
            torch.cat([length_N.new_zeros(1), length_N.cumsum(0)]),
            rows_of(sequences.propensities_E, kept_E),
            rows_of(sequences.signals, kept_E),
            shown and shown.numbered(self.number_V1),
            rows_of(sequences.regions_E, kept_E),
        )

    def never_shown(self, never_shown_M: Tensor | None) -> Tensor | None:
        """Those of them that have a number."""
        if never_shown_M is None:
            return None
        number_M = self.number_V1[never_shown_M]
        return number_M[number_M > 0].sort().values

    def targets(self, targets: Targets) -> Targets:
        """Without those whose item, or every item of whose history, has no number."""
        history, items_N = self.sequences(targets.history), self.number_V1[targets.items_N]
        masked_M = self.never_shown(targets.never_shown_M)
        windows = targets.windows and targets.windows.numbered(self.number_V1)
        known = replace(
            targets, history=history, items_N=items_N, never_shown_M=masked_M, windows=windows
        )
        return targets_where(known, (items_N > 0) & (history.lengths_N > 0))

    def corpus(self, corpus: Corpus) -> Corpus:
        ticks_E = corpus.ticks_E
        if ticks_E is not None:
            ticks_E = ticks_E[self.number_V1[corpus.sequences.items_E] > 0]
        return replace(
            corpus,
            sequences=self.sequences(corpus.sequences),
            item_ids=self.item_ids,
            ticks_E=ticks_E,
            never_shown_M=self.never_shown(corpus.never_shown_M),
            windows=corpus.windows and corpus.windows.numbered(self.number_V1),
        )

    def split(self, data: Split) -> Split:
        train = self.sequences(data.train)
        return Split(
            corpus=self.corpus(data.corpus),
            train=train,
            validation=self.targets(data.validation),
            test=self.targets(data.test),
            reward=train if data.reward is data.train else self.sequences(data.reward),
            judge=None if data.judge is None else self.sequences(data.judge),
            final=None if data.final is None else self.targets(data.final),
        )


def encoder(corpus: Corpus, item_ids: np.ndarray | None, num_items: int) -> Encoder | None:
    """Into the numbering of a policy, or None where it is that of the corpus already.

    item_ids: the policy's; None: it was built by hand, and only their number can be checked.
    Errors: UserError where the policy knows none of the items, or by hand another number of them.
    """
    if item_ids is None:
        require(
            num_items == corpus.num_items,
            f"the policy knows {num_items} items and {corpus.name} has {corpus.num_items}; "
            "use a policy that was pretrained on the same data.",
        )
        return None
    if same_items(item_ids, corpus.item_ids):
        return None
    number_V1 = numbers(item_ids, corpus.item_ids)
    require(
        bool((number_V1 > 0).any()),
        f"{corpus.name}: none of its items is known to the policy, which was trained with item ids "
        f"such as {as_text(item_ids)[0]!r}; give data with the same ids.",
    )
    return Encoder(item_ids, number_V1)


def encode(data: Split, item_ids: np.ndarray) -> Split:
    """The split in the numbering of a policy with these items (`policy.item_ids`).

    Events on other items are left out, and counted in one line on stderr.
    """
    found = encoder(data.corpus, item_ids, len(item_ids))
    if found is None:
        return data
    encoded = found.split(data)
    parts = (data.validation, data.test), (encoded.validation, encoded.test)
    before, after = (sum(len(part.items_N) for part in both) for both in parts)
    for name, part in (("validation", encoded.validation), ("test", encoded.test)):
        require(
            len(part.items_N),
            f"{data.corpus.name}: no {name} target is of an item that the policy knows and has a "
            "history that it can read; give data with more of the items that it was trained on.",
        )
    sentence = str(LeftOut().add(data.corpus, encoded.corpus))
    if before > after:
        sentence += f", so {before - after:,} of {before:,} targets"
    note(f"{data.corpus.name}: items are matched with the policy's by id; {sentence}")
    return encoded


@dataclass
class LeftOut:
    """What an encoder left out of a corpus, or of one after another: events, their items, and users
    without others. As text: a sentence."""

    events: int = 0
    items: dict[str, None] = field(default_factory=dict)
    users: int = 0
    first_users: list[str] = field(default_factory=list)

    def add(self, before: Corpus, after: Corpus) -> LeftOut:
        self.events += len(before.sequences.items_E) - len(after.sequences.items_E)
        known = set(as_text(after.item_ids))
        ids = as_text(before.item_ids[torch.unique(before.sequences.items_E).numpy() - 1])
        self.items |= dict.fromkeys(each for each in ids if each not in known)
        emptied_N = (before.sequences.lengths_N > 0) & (after.sequences.lengths_N == 0)
        self.add_users(before.user_ids[emptied_N.numpy()])
        return self

    def add_users(self, users: np.ndarray) -> None:
        self.users += len(users)
        self.first_users = [*self.first_users, *as_text(users[: NAMED + 1])][: NAMED + 1]

    def __str__(self) -> str:
        if not self.events:
            return "nothing is left out"
        text = f"left out: {counted(self.events, 'event')} on {counted(len(self.items), 'item')} "
        text += f"that the policy does not know ({some(list(self.items))})"
        users = f"{counted(self.users, 'user')} with no other ({some(self.first_users)})"
        return text + (f", and {users}" if self.users else "")


def some(names: Sequence[str]) -> str:
    """The first few."""
    shown = ", ".join(repr(name) for name in names[:NAMED])
    return shown + (", ..." if len(names) > NAMED else "")
