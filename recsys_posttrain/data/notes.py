"""What is said on stderr about data that are read: what is converted, left out or downloaded."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_heard: list[list[str]] = []  # where `heard` keeps them; the innermost last
_kept: list[bool] = []  # whether it keeps them from stderr


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def note(text: str) -> None:
    """One line on stderr, so that stdout stays the result."""
    if True not in _kept[-1:]:
        print(text, file=sys.stderr, flush=True)
    for said in _heard[-1:]:
        said.append(text)


@contextmanager
def heard(keep: bool = False) -> Iterator[list[str]]:
    """Yields the list of the notes until the block ends. keep: they are not printed."""
    _heard.append([])
    _kept.append(keep)
    try:
        yield _heard[-1]
    finally:
        _heard.pop()
        _kept.pop()
