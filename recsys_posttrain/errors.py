"""The one exception that means: the user can fix this."""


class UserError(Exception):
    """A mistake in what the user gave: one sentence that names the thing, its value and the fix.

    The command line prints it without a traceback and exits with code 2.
    """
