"""Where things are: the project, the user's own folder, new runs, and the runs that are shipped."""

import os
from pathlib import Path

from vqlib.errors import UserError

FINISHED = ("config.json", "environment.json", "history.csv", "evaluation.json")  # of a run


def expanded(path: object) -> Path:
    """Return a path with `~` replaced by the user's home; anything but a path is a `UserError`."""
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"{path!r} is not a path: quote it, and with papermill use -r, not -p")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path} cannot be found: there is no such home folder") from None


def is_project(folder: Path) -> bool:
    """Return whether a folder has the project's presets and the rules to run them."""
    return (folder / "Snakefile").is_file() and (folder / "presets").is_dir()


def is_finished(folder: Path) -> bool:
    """Return whether a folder holds a finished run."""
    return all((folder / name).is_file() for name in FINISHED)


def _home() -> Path:
    """Return $VQLIB_HOME, else the checkout that this is part of, else the working folder."""
    if given := os.environ.get("VQLIB_HOME"):
        return expanded(given).absolute()
    return LIBRARY if is_project(LIBRARY) else Path.cwd()


LIBRARY = Path(__file__).resolve().parent.parent  # the checkout, or where pip installs packages
HOME = _home()  # results and data of the user go there
ROOT = HOME if is_project(HOME) else LIBRARY
RUNS = HOME / "results" / "runs"
SHIPPED = ROOT / "results" / "paper"
SHIPPED_RATES = ROOT / "results" / "rate"


def place(path: object) -> Path:
    """Return where a path leads that is relative to the user's own folder, if it is relative."""
    return HOME / expanded(path)


def shown(path: Path) -> str:
    """Return a path as messages name it: relative to the user's own folder if it is inside."""
    path = Path(path).resolve()
    return str(path.relative_to(HOME)) if path.is_relative_to(HOME) else str(path)


def cache_folder() -> Path | None:
    """Return the user's folder for what can be made again; None if the user has no home."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given and Path(given).is_absolute():
        return Path(given) / "vqlib"
    try:
        return Path.home() / ".cache" / "vqlib"
    except RuntimeError:
        return None
