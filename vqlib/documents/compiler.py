"""Set a document with Typst, and find out what its fonts lack."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vqlib.documents.document import code_block
from vqlib.errors import UserError

TEMPLATE = Path(__file__).with_name("report.typ")
STYLE = Path(__file__).with_name("literature.csl")
LINE = re.compile(r"[─-]+ (?:\S*[/\\])?main\.typ:(\d+):")
PROBED_LINE = re.compile(r"\.typ:(\d+):")
TOP, BOTTOM = 70.9, 762.5  # of the text on a page, in points
MUCH, LEAST = 0.3, 0.5  # of a page left empty; of the size of a picture that may shrink
PASSES = 5  # until all pictures have their size
NO_WARNING = re.compile(r"is deprecated|layout did not converge")


@dataclass
class Chunk:
    """A cell of a notebook.

    Attributes:
        place: how messages name the cell.
        typst: the cell in Typst's markup.
        source: what is shown of it if Typst cannot read its markup.
    """

    place: str
    typst: str
    source: str


def compile_pdf(
    head: dict[str, str],
    raised: bool,
    chunks: list[Chunk],
    build: Path,
    system_fonts: bool,
    notes: list[str],
) -> bytes:
    """Return the PDF of a document; a cell that Typst cannot read is shown as it is written.

    Args:
        head: arguments of the template, as Typst's code.
        raised: whether headings are one level higher than they say.
        chunks: the cells.
        build: a folder with the pictures.
        system_fonts: whether to look for characters in the system's fonts, too.
        notes: gets a line for each cell that is shown as it is written, and for warnings.

    Raises:
        UserError: if Typst refuses something outside of cells, such as the bibliography.
    """
    import typst

    for source in (TEMPLATE, STYLE):
        (build / source.name).write_bytes(source.read_bytes())
    arguments = ", ".join(f"{name}: {value}" for name, value in head.items())
    begin = [
        f'#import "{TEMPLATE.name}": *',
        f"#show: report.with({' '.join(arguments.split())})",
        f"#let section = section-above.with({int(raised)})",
        "#let alone = alone-among.with((:))",
    ]
    path = build / "main.typ"
    compiler = typst.Compiler(
        root=str(build), font_paths=_fonts(True) if system_fonts else [],
        ignore_system_fonts=True,
    )  # fmt: skip

    def compiled(some: list[Chunk]) -> Any:
        lines = [*begin, *(chunk.typst for chunk in some)]
        path.write_text("\n\n".join(lines), encoding="utf-8")
        return compiler.compile_with_warnings(str(path))

    passes, shares = 0, dict[int, float]()
    for _ in range(len(chunks) + PASSES):
        try:
            pdf, warnings = compiled(chunks)
        except typst.TypstError as error:
            _show_as_written(error, begin, chunks, compiled, notes)
            continue
        passes += 1
        _shrink(json.loads(compiler.query("<alone>", field="value")), shares)
        alone = f"#let alone = alone-among.with(({_listed(shares)}))"
        if alone != begin[-1] and passes < PASSES:
            begin[-1] = alone
            continue
        notes += [f"Typst: {_diagnostic(warning)}" for warning in warnings
                  if not NO_WARNING.search(warning.message)]  # fmt: skip
        return pdf if isinstance(pdf, bytes) else b""
    raise UserError("Typst cannot set this notebook")


def _listed(shares: dict[int, float]) -> str:
    return ", ".join(f'"{number}": {share:.3f}' for number, share in shares.items()) or ":"


def _shrink(places: list[tuple[int, int, float, float]], shares: dict[int, float]) -> None:
    """Make pictures smaller that would leave a large part of the page before them empty.

    Args:
        places: of each picture that stands alone its number, the page and the height in points at
            which it would begin, and its own height.
        shares: of their own height, by number; gets those that are new.
    """
    moved = 0.0  # how much further up everything will be than in the places
    for number, page, y, height in places:
        whole = BOTTOM - TOP
        room = whole - ((page - 1) * whole + y - TOP - moved) % whole
        is_gap = height > room > MUCH * whole and room > LEAST * height
        if is_gap and number not in shares:
            shares[number] = (room - 3) / height
            moved += height


def _show_as_written(
    error: Any,
    begin: list[str],
    chunks: list[Chunk],
    compiled: Callable[[list[Chunk]], Any],
    notes: list[str],
) -> None:
    """Replace the markup of the first cell in which Typst found an error."""
    problem = _diagnostic(error)
    chunk = _named(error, begin, chunks) or _failing(chunks, compiled)
    if chunk is None or chunk.typst == code_block(chunk.source):
        raise UserError(f"Typst: {problem}")
    notes.append(f"{chunk.place}: shown as it is written: Typst: {problem}")
    chunk.typst = code_block(chunk.source)


def _named(error: Any, begin: list[str], chunks: list[Chunk]) -> Chunk | None:
    """Return the first cell that has a line which an error names."""
    numbers = [int(number) for number in LINE.findall(getattr(error, "diagnostic", ""))]
    end = 1 + sum(text.count("\n") + 2 for text in begin)
    for chunk in chunks:
        start, end = end, end + chunk.typst.count("\n") + 2
        if chunk.place and any(start <= number < end for number in numbers):
            return chunk
    return None


def _failing(chunks: list[Chunk], compiled: Callable[[list[Chunk]], Any]) -> Chunk | None:
    """Return the first cell that cannot be set without the others, as the layout fails on it."""
    import typst

    of_all = [chunk for chunk in chunks if not chunk.place]
    for chunk in (chunk for chunk in chunks if chunk.place):
        try:
            compiled([chunk, *of_all])
        except typst.TypstError:
            return chunk
    return None


def missing_characters(characters: Iterable[str], system_fonts: bool) -> list[str]:
    """Return which characters no font has: Typst's own and perhaps the system's."""
    import typst

    probed = [one for one in characters if unicodedata.category(one) not in NEVER_SHOWN]
    if not probed:
        return []
    source = "#set page(height: auto)\n" + "\n".join(f'#"{one}"' for one in probed)
    compiler = typst.Compiler(
        source.encode(), font_paths=_fonts(system_fonts), ignore_system_fonts=True
    )
    try:
        compiler.compile(format="pdf", pdf_standards=["a-2b"])
    except typst.TypstError as error:
        lines = PROBED_LINE.findall(error.diagnostic)
        return [probed[number] for number in sorted({int(line) - 2 for line in lines})]
    return []


NEVER_SHOWN = {"Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Me", "Cn"}


@cache
def _fonts(system: bool) -> Any:
    import typst

    return typst.Fonts(include_system_fonts=system, include_embedded_fonts=True)


def _diagnostic(problem: Any) -> str:
    """Return a Typst error or warning with its hints, in one line."""
    return " ".join("; ".join([problem.message, *problem.hints]).split())
