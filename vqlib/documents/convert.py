"""Convert a notebook, as JSON holds it, to PDF: one cell after the other, then all with Typst."""

import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqlib.documents import html, tex
from vqlib.documents.citations import read_keys
from vqlib.documents.compiler import Chunk, compile_pdf, missing_characters
from vqlib.documents.document import Document, clean, code_block, string
from vqlib.documents.markdown import take_formulas
from vqlib.documents.outputs import joined, of_output
from vqlib.errors import UserError

ABSTRACT = "abstract"  # the tag of a cell
HIDDEN_CELL = {"remove_cell", "remove-cell"}
HIDDEN_CODE = {"remove_input", "remove-input", "hide_input", "hide-input"}
HIDDEN_OUTPUT = {"remove_output", "remove-output"}
QUOTED = 60  # characters of a cell in a message
LAST_HEADING = re.compile(r"#section\((\d)\)\[([^\n]*)\];")
MAGIC = re.compile(r"\s*%%(bash|sh|html|javascript|js|latex|ruby|perl|R|cython)\b")
LANGUAGES = {"cython": "python", "ipython": "python", "R": "r", "c++17": "cpp", "c++": "cpp"}

Cell = Mapping[str, Any]


@dataclass(frozen=True)
class Shown:
    """Which kinds of content are printed."""

    code: bool = True
    output: bool = True
    markdown: bool = True
    raw: bool = True


def convert(
    notebook: Mapping[str, Any], folder: Path, strict: bool, shown: Shown, numbers: Iterable[int]
) -> tuple[bytes, list[str]]:
    """Return a notebook as a PDF, and a line for each thing that it lacks.

    Args:
        notebook: the content of a file of format 4.
        folder: where the paths in it start.
        strict: whether it must lack nothing.
        shown: which content is printed.
        numbers: how messages number the cells.

    Raises:
        UserError: in a strict conversion, with all that the PDF would lack; and if the
            bibliography or the text of an abstract is missing.
    """
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        pdf = _pdf(notebook, folder, Path(name), notes, shown, numbers)
    if notes and strict:
        raise UserError("; ".join(notes))
    return pdf, notes


def _pdf(
    notebook: Mapping[str, Any], folder: Path, build: Path, notes: list[str], shown: Shown,
    numbers: Iterable[int],
) -> bytes:  # fmt: skip
    """Return the PDF, and add to the notes what it lacks."""

    def note(what: str) -> None:
        line = " ".join(f"{document.place}: {what}".removeprefix(": ").split())
        if line not in notes:
            notes.append(line)

    metadata, cells = notebook.get("metadata", {}), list(notebook["cells"])
    bibliography = read_keys(metadata.get("bibliography"), folder)
    document = Document(folder, build, note, bibliography[1] if bibliography else None)
    document.definitions.note = note
    tex.number_labels(_formulas(cells), document.definitions.labels)
    head = _head(metadata, cells, document)
    document.awaits_title = "title" not in head
    chunks = [
        _chunk(cell, number, metadata, document, shown)
        for number, cell in zip(numbers, cells, strict=True)
    ]
    document.place = ""
    for label, place in document.referred.items():
        if label not in document.labels:
            notes.append(f"{place}: no figure or table has the label {label}")
    if document.cited and bibliography:
        (build / "references.bib").write_bytes(bibliography[0])
        _unnumber_last_heading(chunks)
        chunks.append(Chunk("", '#literature("references.bib")', ""))
    raised = document.title is not None and 1 not in document.levels
    head |= {"title": f"[{document.title}]"} if document.title else {}
    return compile_pdf(head, raised, chunks, build, _needs_fonts(document, notes), notes)


def _needs_fonts(document: Document, notes: list[str]) -> bool:
    """Return whether the system's fonts are needed, and note what no font can show."""
    lacking = missing_characters(document.characters, system_fonts=False)
    if not lacking:
        return False
    if lacking := missing_characters(lacking, system_fonts=True):
        cells = sorted({document.characters[one] for one in lacking}, key=_in_order)
        notes.append(
            f"{_shortened(cells, ', ', 8)}: no font has {_shortened(lacking, ' ', 30)}: install "
            "a font for them, such as Noto (Debian: fonts-noto-core, fonts-noto-cjk)"
        )
    return True


def _in_order(place: str) -> tuple[int, str]:
    digits = re.sub(r"\D", "", place)
    return int(digits or 0), place


def _shortened(texts: list[str], between: str, count: int) -> str:
    return between.join(texts[:count]) + (f"{between}…" if len(texts) > count else "")


def _chunk(
    cell: Cell, number: int, metadata: Mapping[str, Any], document: Document, shown: Shown
) -> Chunk:
    """Return a cell in Typst's markup."""
    document.place = f"cell {number}"
    tags = _tags(cell)
    is_hidden = bool(tags & {ABSTRACT, *HIDDEN_CELL})
    typst = "" if is_hidden else _cell(cell, tags, metadata, document, shown)
    if typst.strip():
        document.awaits_title = False
    return Chunk(document.place, typst, clean(source_of(cell)))


def _tags(cell: Cell) -> set[str]:
    return set(map(str, cell.get("metadata", {}).get("tags") or ()))


def _cell(
    cell: Cell, tags: set[str], metadata: Mapping[str, Any], document: Document, shown: Shown
) -> str:
    source = source_of(cell)
    kind = cell.get("cell_type")
    if kind == "markdown":
        return html.of_markdown(source, document, cell.get("attachments")) if shown.markdown else ""
    if kind != "code":
        text = clean(source).strip("\n")
        document.see(text)
        return code_block(text) if shown.raw and text.strip() else ""
    is_removed = cell.get("metadata", {}).get("transient", {}).get("remove_source")
    hides = metadata.get("hide_code") or is_removed or tags & HIDDEN_CODE
    code = clean(source).strip("\n").expandtabs(4) if shown.code and not hides else ""
    document.see(code)
    parts = [code_block(code, _language(metadata, code))] if code.strip() else []
    if shown.output and not tags & HIDDEN_OUTPUT:
        parts += [of_output(one, cell, document) for one in joined(cell.get("outputs") or ())]
    return "".join(parts)


def source_of(cell: Cell) -> str:
    """Return the source of a cell, which JSON may hold in lines."""
    source = cell.get("source", "")
    return "".join(source) if isinstance(source, list) else str(source)


def _language(metadata: Mapping[str, Any], code: str) -> str:
    """Return the language in which a code cell is highlighted."""
    if magic := MAGIC.match(code):
        return LANGUAGES.get(magic[1], magic[1])
    info, kernel = metadata.get("language_info") or {}, metadata.get("kernelspec") or {}
    name = str(info.get("name") or kernel.get("language") or "python").lower()
    return LANGUAGES.get(name, name)


def _formulas(cells: list[Cell]) -> list[str]:
    """Return the formulas of all Markdown cells that have labels."""
    sources = (source_of(cell) for cell in cells if cell.get("cell_type") == "markdown")
    labelled = (source for source in sources if "\\label" in source)
    return [formula.tex for source in labelled for formula in take_formulas(source)[1]]


def _head(metadata: Mapping[str, Any], cells: list[Cell], document: Document) -> dict[str, str]:
    """Return the template's arguments: what the metadata say of the notebook, as Typst's code."""
    head = {}
    for key in ("title", "date"):
        if metadata.get(key):
            document.place = f"metadata {key}"
            head[key] = f"[{html.of_markdown(str(metadata[key]), document).strip()}]"
    authors = metadata.get("authors") or []
    names = [str(one.get("name", "") if isinstance(one, Mapping) else one) for one in authors]
    if names:
        document.see("".join(names))
        head["authors"] = f"({', '.join(string(clean(name)) for name in names)},)"
    if abstract := _abstract(cells) or str(metadata.get("abstract") or ""):
        document.place = "abstract"
        head["abstract"] = f"[{html.of_markdown(abstract, document).strip()}]"
    if metadata.get("number_sections"):
        head["numbered"] = "true"
    return head


def _abstract(cells: list[Cell]) -> str:
    """Return the text of the cells tagged `abstract`."""
    return "\n\n".join(_abstract_text(cell) for cell in cells if ABSTRACT in _tags(cell))


def _abstract_text(cell: Cell) -> str:
    """Return the Markdown of a cell tagged `abstract`."""
    source = text = source_of(cell)
    if cell.get("cell_type") == "code":
        outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
        parts = [data["text/markdown"] for data in outputs if "text/markdown" in data]
        text = "\n\n".join("".join(part) for part in parts)
    if not text.strip():
        raise UserError(
            f"the cell {source[:QUOTED]!r}, tagged {ABSTRACT!r}, has no text: write the abstract "
            "in a Markdown cell, or run a code cell that displays it as Markdown"
        )
    return text.strip()


def _unnumber_last_heading(chunks: list[Chunk]) -> None:
    """Take the number from a heading at the end, which stands over the literature."""
    filled = [chunk for chunk in chunks if chunk.typst.strip()]
    if filled and (found := LAST_HEADING.fullmatch(filled[-1].typst.strip())):
        filled[-1].typst = f"\n\n#unnumbered({found[1]})[{found[2]}];\n\n"
