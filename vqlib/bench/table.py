"""The table that `vqlib bench` prints and stores."""

import re
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vqlib.system.files import write_atomically, write_json

RATE = "img/s"


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what: what was measured.
        unit: of the two figures.
        vqlib: median over the repeats; None where it was not measured.
        other: the same for what it stands beside.
        beside: what that is.
        ratios: a repeat each: how many times as fast vqlib is.
        how: sizes and settings, or why there is no figure.
    """

    what: str
    how: str
    unit: str = ""
    vqlib: float | None = None
    other: float | None = None
    beside: str = ""
    ratios: tuple[float, ...] = ()


def compare(
    what: str, unit: str, ours: list[float], others: list[float], beside: str, how: str
) -> Row:
    """The row for measured values; either list may be empty where nothing came of it."""
    ratios = ()
    if ours and others:
        faster = zip(ours, others, strict=True) if unit == RATE else zip(others, ours, strict=True)
        ratios = tuple(a / b for a, b in faster)
    middle, other = (statistics.median(values) if values else None for values in (ours, others))
    return Row(what, how, unit, middle, other, beside, ratios)


def table(rows: list[Row], machine: dict[str, Any]) -> str:
    """The Markdown table, with what it was measured on above it."""
    lines = cells(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    note = "Ratio: how many times as fast vqlib is; median, lowest and highest of the repeats."
    return "\n".join([facts, "", padded[0], rule, *padded[1:], "", note, ""])


def cells(rows: list[Row]) -> list[tuple[str, ...]]:
    """The table's head and lines, as text."""
    lines = [("Measured", "vqlib", "beside it", "", "Ratio", "How")]
    for row in rows:
        figures = (_figure(value, row.unit) for value in (row.vqlib, row.other))
        lines.append((row.what, *figures, row.beside, _ratio(row.ratios), row.how))
    return lines


def store(folder: Path, name: str, rows: list[Row], machine: dict[str, Any]) -> list[Path]:
    """Writes the table as JSON and as Markdown; their names are `name` and the machine's."""
    parts = [name, machine["processor"], f"{machine['cores']} cores", machine["gpu"]]
    stem = re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")
    as_json, as_markdown = folder / f"{stem}.json", folder / f"{stem}.md"
    write_json(as_json, {"machine": machine, "rows": [asdict(row) for row in rows]})
    write_atomically(as_markdown, table(rows, machine).encode())
    return [as_json, as_markdown]


def number(value: float) -> str:
    """Three digits at least: 1,060 or 2.14."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _figure(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{number(value)} {unit}"


def _ratio(ratios: tuple[float, ...]) -> str:
    if not ratios:
        return "–"
    middle = f"{statistics.median(ratios):.2f}"
    if len(ratios) == 1:
        return middle
    return f"{middle} ({min(ratios):.2f}–{max(ratios):.2f})"
