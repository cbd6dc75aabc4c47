"""A business mask: items of the catalogue that nobody is shown.

They stay in histories, and where the log chose one in training the choice stays eligible. But no
policy has them among what it is a softmax over, no list holds them, and an event on one is no
target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_posttrain.config import require
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.errors import UserError, did_you_mean, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from recsys_posttrain.types import Corpus, Split

FILE = "@"  # before the name of a file that holds ids, one a line
HEADER = "item_id"  # may be its first line


def with_never_shown(corpus: Corpus, never_shown: Sequence[str | int]) -> Corpus:
    """The corpus with these items masked: ids as the log writes them, and "@masked.txt" for those
    that a file holds, one a line.

    Ids that the catalogue does not have are counted in a line on stderr.
    Raises: UserError where it has none of them, or no others.
    """
    import torch

    from recsys_posttrain.data.encode import as_text, some

    asked = list(dict.fromkeys(_ids(never_shown)))
    if not asked:
        return corpus
    number_of = {each: number for number, each in enumerate(as_text(corpus.item_ids), start=1)}
    unknown = [each for each in asked if each not in number_of]
    if unknown:
        missing = (
            f"{counted(len(unknown), 'id')} of never_shown that {corpus.name} does not have among "
            f"its {corpus.num_items:,} items ({some(unknown)})"
        )
        hint = did_you_mean(nearest(unknown[0], number_of))
        require(len(unknown) < len(asked), f"{missing}, and no other{hint or '.'}")
        note(f"{missing}{hint}")
    numbers = sorted(number_of[each] for each in asked if each in number_of)
    require(
        len(numbers) < corpus.num_items,
        f"never_shown holds all {corpus.num_items:,} items of {corpus.name}, so that nothing may "
        "be shown; leave some out.",
    )
    return replace(corpus, never_shown_M=torch.tensor(numbers))


def _ids(never_shown: Sequence[str | int]) -> Iterator[str]:
    for each in map(str, never_shown):
        if not each.startswith(FILE):
            yield each
            continue
        path = Path(each.removeprefix(FILE)).expanduser()
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"never_shown={each}: {path} cannot be read as text ({error}); give a file with "
                "one item id a line"
            ) from None
        yield from filter(None, lines[1:] if lines[:1] == [HEADER] else lines)


def shown_events(corpus: Corpus, event_N: Tensor) -> Tensor:
    """Those of the events, flat indices, whose item is not masked. Raises: UserError: none is."""
    import torch

    if corpus.never_shown_M is None or not len(event_N):
        return event_N
    kept_N = event_N[~torch.isin(corpus.sequences.items_E[event_N], corpus.never_shown_M)]
    require(
        len(kept_N),
        f"{corpus.name}: all {len(event_N):,} targets are of items that are never shown; mask "
        "fewer.",
    )
    return kept_N


def never_shown_ids(corpus: Corpus) -> list[str]:
    """Of the masked items, in the order of the catalogue."""
    from recsys_posttrain.data.encode import as_text

    masked_M = corpus.never_shown_M
    return [] if masked_M is None else as_text(corpus.item_ids[masked_M.numpy() - 1])


def never_shown_sentence(data: Split) -> str:
    """How many items are masked, and what that leaves out; empty without a mask."""
    masked = len(never_shown_ids(data.corpus))
    if not masked:
        return ""
    parts = (("validation", data.validation), ("test", data.test))
    left_out = " and ".join(
        f"{part.masked:,} of {part.masked + part.unshowable + len(part.items_N):,} {name} targets"
        for name, part in parts
    )
    text = f"{masked:,} of {data.corpus.num_items:,} items are never shown; {left_out} are left out"
    if data.corpus.sequences.propensities_E is None:
        return f"{text}: they are on these"
    return (
        f"{text}: they are on these, so off-policy estimates that are not self-normalised are too "
        "high by about that share"
    )
