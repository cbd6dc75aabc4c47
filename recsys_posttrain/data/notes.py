"""What is said on stderr about data that are read: what is converted, left out or downloaded."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_heard: list[list[str]] = []  # where `heard` keeps them; the innermost last


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def note(text: str) -> None:
    """One line on stderr, so that stdout stays the result."""
    print(text, file=sys.stderr, flush=True)
    for said in _heard[-1:]:
        said.append(text)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Yields the list of the notes until the block ends."""
    _heard.append([])
    try:
        yield _heard[-1]
    finally:
        _heard.pop()
