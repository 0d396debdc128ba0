"""Where things are: the project's root, new runs, and the runs that are shipped with it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "results" / "runs"
SHIPPED = ROOT / "results" / "paper"


def shown(path: Path) -> str:
    """The path as messages name it: inside the project, relative to its root."""
    path = Path(path).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
