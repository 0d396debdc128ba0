"""Where things are: the project's root, new runs, and the runs shipped with the project."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "results" / "runs"
SHIPPED = ROOT / "results" / "paper"


def shown(path: Path) -> str:
    """Return a path as messages name it: relative to the project's root if it is inside."""
    path = Path(path).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
