"""The one kind of error that the user can fix."""


class UserError(ValueError):
    """An error in what was asked for or found on disk; its message says what, where and what to do.

    The command line prints it as one line and exits with code 1.
    """
