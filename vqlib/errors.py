"""Errors that the user can fix, and interruptions that the user wants."""


class UserError(ValueError):
    """An error in what was asked for or found on disk; its message says what, where and what to do.

    The command line prints it as one line and exits with code 1; a notebook shows one line, too.
    """

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows."""
        return [f"{type(self).__name__}: {self}"]


class InterruptError(KeyboardInterrupt):
    """Ctrl-C, or a notebook's stop button; its message says how to go on."""

    _render_traceback_ = UserError._render_traceback_
