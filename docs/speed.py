"""Puts the table of the full `vqlib bench` into the README: `python docs/speed.py`."""

import json
from pathlib import Path

import pandas as pd

from vqlib.bench.measure import RESULTS
from vqlib.bench.table import Row, cells
from vqlib.paths import ROOT
from vqlib.report.words import rows

README = ROOT / "README.md"
START, END = "<!-- speed: made from benchmarks/results -->\n", "<!-- end of speed -->\n"


def section(measured: Path) -> str:
    """What was measured, and on what, in Markdown, from the JSON that `vqlib bench` wrote."""
    stored = json.loads(measured.read_text())
    head, *lines = cells([Row(**row) for row in stored["rows"]])
    on = stored["machine"]
    return (
        f"On {on['date']}, with Python {on['python']}, PyTorch {on['torch']} and {on['data']}; "
        f"processor {on['processor']}, {on['cores']} cores, {on['gpu']}. "
        "Medians; in brackets the lowest and highest ratio of the repeats:\n\n"
        + "\n".join(rows(pd.DataFrame(lines, columns=head)))
        + f"\n\nFrom [`{measured.name}`](benchmarks/results/{measured.name}).\n"
    )


def shipped() -> Path:
    """The one full table that is shipped."""
    (path,) = RESULTS.glob("full-*.json")
    return path


def main() -> None:
    before, rest = README.read_text().split(START)
    README.write_text(f"{before}{START}\n{section(shipped())}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
