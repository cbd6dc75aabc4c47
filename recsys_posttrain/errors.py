"""The one exception that means: the user can fix this."""


class UserError(Exception):
    """A mistake in what the user gave: one sentence that names the thing, its value and the fix.

    The command line prints it without a traceback and exits with code 2.
    """


class TrainingFailed(UserError):
    """Training could not go on with these settings: it diverged, or they do not fit the data."""
