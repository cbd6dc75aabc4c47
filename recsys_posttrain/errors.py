"""The one exception that means: the user can fix this; and the nearest name to a misspelled one."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in what the user gave: one sentence that names the thing, its value and the fix.

    The command line prints it without a traceback and exits with code 2.
    """


class TrainingFailed(UserError):
    """Training could not go on with these settings: it diverged, or they do not fit the data."""


def nearest(written: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known name that is most like the written one; empty where none is like it.

    cutoff: the least share of the letters that two names have in common, roughly.
    """
    return next(iter(get_close_matches(written, list(known), n=1, cutoff=cutoff)), "")


def did_you_mean(name: str) -> str:
    """The part of a sentence that suggests a name; empty without one."""
    return f"; did you mean {name!r}?" if name else ""
