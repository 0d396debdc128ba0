"""Where things are: the project's root, new runs, and the runs shipped with the project."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "results" / "runs"
SHIPPED = ROOT / "results" / "paper"


def shown(path: Path) -> str:
    """Return a path as messages name it: relative to the project's root if it is inside."""
    path = Path(path).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def cache_folder() -> Path | None:
    """Return the user's folder for what can be made again; None if the user has no home."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given and Path(given).is_absolute():
        return Path(given) / "vqlib"
    try:
        return Path.home() / ".cache" / "vqlib"
    except RuntimeError:
        return None
