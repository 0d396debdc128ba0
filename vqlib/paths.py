"""Where things are: the project's root, new runs, and the runs that are shipped with it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "results" / "runs"
SHIPPED = ROOT / "results" / "paper"
