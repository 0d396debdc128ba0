"""What a container may lack: a name for the user, and a home that can be written."""

import atexit
import getpass
import os
import shutil
import sys
from io import TextIOWrapper
from pathlib import Path
from tempfile import mkdtemp


def name_the_user() -> None:
    """Give the user a name if the system knows none: torch puts it into the name of a folder."""
    try:
        getpass.getuser()
    except (ImportError, KeyError, OSError):  # which of them depends on the version of Python
        os.environ["USER"] = f"user{os.getuid()}"


def have_a_home() -> None:
    """Give this process and its children a home that can be written, until this process ends.

    IPython, Jupyter and Snakemake write to it.
    """
    try:
        home = Path.home()
        if home.is_dir() and os.access(home, os.W_OK | os.X_OK):
            return
    except (RuntimeError, OSError):
        pass
    own, made = os.getpid(), mkdtemp(prefix="vqlib-home-")
    atexit.register(lambda: shutil.rmtree(made, ignore_errors=True) if os.getpid() == own else None)
    os.environ["HOME"] = made


def print_anything() -> None:
    r"""Let standard output and error escape what their encoding lacks: `é` in ASCII is `\xe9`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
