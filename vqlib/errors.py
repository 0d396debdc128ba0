"""The one kind of error that is the user's to mend."""


class UserError(ValueError):
    """Something asked for or found on disk is wrong; the message says what, where and what to do.

    The command line prints it as one line and exits with code 1.
    """
