"""The benchmark's table: printed, stored, and shown in README and docs/speed.md."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vqlib.paths import HOME
from vqlib.system.files import read_json, write_atomically, write_json

RESULTS = HOME / "benchmarks" / "results"
PUBLISHED = "amd-epyc-2-cores-no-gpu"  # the machine whose tables README and docs/speed.md show
PUBLISHED_GPU = "intel-r-xeon-r-processor-16-cores-nvidia-h200"
RATE = "img/s"
PLAIN = "plain loop, float32"


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        what: what was measured.
        how: sizes and settings, or why nothing was measured.
        unit: the unit of both values.
        vqlib: vqlib's value, the median of the repeats; None if it was not measured.
        other: the same for the other way.
        beside: the other way.
        ratios: how many times as fast vqlib is, one value per repeat.
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
    """Return the row for measured values; either list may be empty."""
    ratios: tuple[float, ...] = ()
    if ours and others:
        faster = zip(ours, others, strict=True) if unit == RATE else zip(others, ours, strict=True)
        ratios = tuple(a / b for a, b in faster)
    middle, other = (statistics.median(values) if values else None for values in (ours, others))
    return Row(what, how, unit, middle, other, beside, ratios)


def table(rows: list[Row], machine: dict[str, Any]) -> str:
    """Return the Markdown table, with the facts about the machine above it."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    note = "Ratio: how many times as fast vqlib is; the median (lowest–highest) of the repeats."
    return f"{facts}\n\n{markdown(_cells(rows), '<>><<<')}\n\n{note}\n"


def store(folder: Path, name: str, rows: list[Row], machine: dict[str, Any]) -> list[Path]:
    """Write the table as JSON and as Markdown; both are named after `name` and the machine."""
    parts = [name, machine["processor"], f"{machine['cores']} cores", machine["gpu"]]
    stem = re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")
    as_json, as_markdown = folder / f"{stem}.json", folder / f"{stem}.md"
    write_json(as_json, {"machine": machine, "rows": [asdict(row) for row in rows]})
    write_atomically(as_markdown, table(rows, machine).encode())
    return [as_json, as_markdown]


def load(path: Path) -> tuple[list[Row], dict[str, Any]]:
    """Read the rows and the machine from the JSON file that `store` wrote."""
    stored = read_json(path)
    rows = [Row(**{**row, "ratios": tuple(row["ratios"])}) for row in stored["rows"]]
    return rows, stored["machine"]


def section(machine: str = PUBLISHED, folder: Path = RESULTS) -> str:
    """Return the full table of a machine, and what it was measured on, for docs/speed.md."""
    rows, on = load(folder / f"full-{machine}.json")
    _, on_quick = load(folder / f"quick-{machine}.json")
    time = (
        f"The full measurement took {on['minutes']:.0f} minutes; with `--quick`, it took "
        f"{on_quick['minutes']:.0f}."
    )
    return _section(rows, on, time, f"full-{machine}.json")


def gpu_section(machine: str = PUBLISHED_GPU, folder: Path = RESULTS) -> str:
    """Return the table of training on a GPU, and what it was measured on, for docs/speed.md."""
    rows, on = load(folder / f"gpu-{machine}.json")
    return _section(rows, on, "", f"gpu-{machine}.json")


def _section(rows: list[Row], on: dict[str, Any], time: str, name: str) -> str:
    measured = (
        f"Measured on {on['date']} with Python {on['python']}, PyTorch {on['torch']} and the "
        f"images of `{on['data']}`, on this machine: {named(on)}. {time}"
    )
    return (
        f"{measured.strip()}\n\n{markdown(_cells(rows), '<>><<<')}\n\n"
        f"All values are in a [JSON file](../benchmarks/results/{name})."
    )


def headline(machine: str = PUBLISHED, folder: Path = RESULTS) -> str:
    """Return the few rows that README shows: training in one process, and SSIM."""
    rows, on = load(folder / f"full-{machine}.json")
    shown = [row for row in rows if _is_headline(row)]
    lines = [line[:-1] for line in _cells(shown)]
    return f"{markdown(lines, '<>><<')}\n\nMeasured on {named(on)}."


def number(value: float) -> str:
    """Return the number with at least three digits, such as 1,060 or 2.14."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _is_headline(row: Row) -> bool:
    trains = row.beside == PLAIN and ", one process" in row.what
    return trains or row.what.startswith("SSIM")


def named(machine: dict[str, Any]) -> str:
    """Return a machine's processor, number of cores and GPU in words."""
    return f"{machine['processor']}, {machine['cores']} cores, {machine['gpu']}"


def _cells(rows: list[Row]) -> list[tuple[str, ...]]:
    """Return the table's head and rows as text."""
    lines: list[tuple[str, ...]] = [
        ("Measured", "vqlib", "Other", "Compared with", "Ratio", "Details")
    ]
    for row in rows:
        ours, other = (_value(value, row.unit) for value in (row.vqlib, row.other))
        lines.append((row.what, ours, other, row.beside, ratio(row.ratios), row.how))
    return lines


def markdown(lines: Sequence[Sequence[str]], sides: str) -> str:
    """Return a Markdown table in aligned columns.

    Args:
        lines: the head and the rows.
        sides: `<` or `>` for each column: aligned left or right.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head, *body = (
        [f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)]
        for line in lines
    )
    rule = [
        f":{'-' * (width - 1)}" if side == "<" else f"{'-' * (width - 1)}:"
        for side, width in zip(sides, widths, strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))


def _value(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{number(value)} {unit}"


def ratio(ratios: Sequence[float]) -> str:
    """Return the median of ratios, with their range if there are several."""
    if not ratios:
        return "–"
    middle = f"{statistics.median(ratios):.2f}"
    if len(ratios) == 1:
        return middle
    return f"{middle} ({min(ratios):.2f}–{max(ratios):.2f})"
