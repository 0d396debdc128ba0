"""Convert any notebook to PDF with Typst: no TeX, no browser, no network.

nbconvert finds the exporter as `typst_pdf`: `jupyter nbconvert --to typst_pdf report.ipynb`, and
as `typst_pdf_no_code`, which leaves out the code. Whatever cannot be shown leaves a note in its
place and a line in the log; a strict export fails instead and names all of it.
"""

import copy
import re
import tempfile
from pathlib import Path
from typing import Any

from nbconvert.exporters import Exporter
from nbformat import NotebookNode
from traitlets import Bool
from traitlets.config import Config

from vqlib.documents import html, tex
from vqlib.documents.citations import read_keys
from vqlib.documents.compiler import Chunk, compile_pdf, missing_characters
from vqlib.documents.errors import ExportError
from vqlib.documents.html import Document, clean, code_block, string
from vqlib.documents.markdown import take_formulas
from vqlib.documents.outputs import joined, of_output

ABSTRACT = "abstract"  # the tag of a cell
LIMIT = 60  # characters of a cell that a message quotes
NUMBER = "vqlib_number"  # where a cell's metadata keep its number while cells are removed
LAST_HEADING = re.compile(r"#section\((\d)\)\[([^\n]*)\];")


class TypstPDFExporter(Exporter):
    """An nbconvert exporter that writes a notebook as a PDF.

    The notebook's metadata give title, authors, date, abstract, bibliography, `number_sections`
    and `hide_code`. Without a title in the metadata, a heading of level 1 with which the notebook
    begins is the title. A cell tagged `abstract` replaces the metadata's abstract: a Markdown cell
    with its source, a code cell with its Markdown output.

    A cell's metadata may give its picture a `caption` and a `label`. The alt text of a picture is
    that of the output's metadata (`metadata["image/png"]["alt"]`), or the `alt` attribute of a
    Markdown picture (`![caption](file){#fig-x alt="..."}`), or else the text of the picture.
    """

    export_from_notebook = "PDF (Typst)"
    file_extension = ".pdf"
    output_mimetype = "application/pdf"

    strict = Bool(False, help="fail if anything cannot be shown, and name all of it").tag(
        config=True
    )
    show_code = Bool(True, help="print the code of cells").tag(config=True)

    @property
    def default_config(self) -> Config:
        """Settings of nbconvert: the usual tags hide cells, their source or their output."""
        tags = {
            "enabled": True,
            "remove_cell_tags": {"remove_cell", "remove-cell"},
            "remove_input_tags": {"remove_input", "remove-input", "hide_input", "hide-input"},
            "remove_all_outputs_tags": {"remove_output", "remove-output"},
        }
        return Config({"TagRemovePreprocessor": tags})

    # nbconvert declares that exporters return a notebook, but each returns the form it exports.
    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kwargs: Any
    ) -> tuple[bytes, dict[str, Any]]:
        """Return a notebook as a PDF, together with nbconvert's resources.

        What the PDF lacks is in `resources["notes"]`, a line each, and in the log. Relative paths in the notebook start at `resources["metadata"]["path"]`.

        Raises:
            ExportError: if the export is strict and the PDF would lack something, such as a
                citation or a picture; the message names all of it.
        """
        numbered = copy.deepcopy(nb)
        for number, cell in enumerate(numbered.cells, 1):
            cell.setdefault("metadata", NotebookNode())[NUMBER] = number
        nb, resources = super().from_notebook_node(numbered, resources, **kwargs)
        folder = Path(resources["metadata"].get("path") or ".").resolve()
        notes: list[str] = []
        with tempfile.TemporaryDirectory() as name:
            pdf = self._pdf(nb, folder, Path(name), notes)
        if notes and self.strict:
            raise ExportError("; ".join(notes))
        for note in notes:
            self.log.warning(note)
        resources["notes"] = notes
        return pdf, resources

    def _pdf(self, nb: NotebookNode, folder: Path, build: Path, notes: list[str]) -> bytes:
        """Return the PDF, and add to the notes what it lacks."""

        def note(what: str) -> None:
            line = " ".join(f"{document.place}: {what}".removeprefix(": ").split())
            if line not in notes:
                notes.append(line)

        bibliography = read_keys(nb.metadata.get("bibliography"), folder)
        keys = bibliography[1] if bibliography else None
        document = Document(folder, build, note, keys)
        document.definitions.note = note
        tex.number_labels(_formulas(nb), document.definitions.labels)
        head = _metadata(nb, document)
        document.awaits_title = "title" not in head
        chunks = [self._chunk(cell, nb, document) for cell in nb.cells]
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
        system_fonts = self._fonts(document, notes)
        return compile_pdf(head, raised, chunks, build, system_fonts, notes)

    def _fonts(self, document: Document, notes: list[str]) -> bool:
        """Return whether the system's fonts are needed, and note what no font can show."""
        lacking = missing_characters(document.characters, system_fonts=False)
        if not lacking:
            return False
        lacking = missing_characters(lacking, system_fonts=True)
        if lacking:
            cells = sorted({document.characters[one] for one in lacking}, key=_in_order)
            notes.append(
                f"{_shortened(cells, ', ', 8)}: no font has {_shortened(lacking, ' ', 30)}: install "
                "a font for them, such as Noto"
            )
        return True

    def _chunk(self, cell: NotebookNode, nb: NotebookNode, document: Document) -> Chunk:
        """Return a cell in Typst's markup."""
        document.place = f"cell {cell.metadata[NUMBER]}"
        typst = self._cell(cell, nb, document)
        if typst.strip():
            document.awaits_title = False
        return Chunk(document.place, typst, clean(str(cell.get("source", ""))))

    def _cell(self, cell: NotebookNode, nb: NotebookNode, document: Document) -> str:
        hidden = self.config.get("TemplateExporter", {})  # such as --no-input
        source = _source(cell)
        if ABSTRACT in cell.metadata.get("tags", []):
            return ""
        if cell.cell_type == "markdown":
            if hidden.get("exclude_markdown"):
                return ""
            return html.of_markdown(source, document, cell.get("attachments"))
        if cell.cell_type != "code":
            text = clean(source).strip("\n")
            document.see(text)
            return "" if hidden.get("exclude_raw") or not text else code_block(text)
        is_removed = cell.metadata.get("transient", {}).get("remove_source")
        hides = hidden.get("exclude_input") or nb.metadata.get("hide_code") or is_removed
        code = clean(source).strip("\n") if self.show_code and not hides else ""
        document.see(code)
        parts = [code_block(code.expandtabs(4), _language(nb, code))] if code.strip() else []
        if not hidden.get("exclude_output"):
            parts += [of_output(one, cell, document) for one in joined(cell.get("outputs", []))]
        return "".join(parts)


class TypstPDFNoCodeExporter(TypstPDFExporter):
    """An nbconvert exporter that writes a notebook as a PDF without its code."""

    export_from_notebook = "PDF without code (Typst)"
    show_code = Bool(False, help="print the code of cells").tag(config=True)


def _in_order(place: str) -> tuple[int, str]:
    digits = re.sub(r"\D", "", place)
    return int(digits or 0), place


def _shortened(texts: list[str], between: str, count: int) -> str:
    return between.join(texts[:count]) + (f"{between}…" if len(texts) > count else "")


def _source(cell: NotebookNode) -> str:
    source = cell.get("source", "")
    return "".join(source) if isinstance(source, list) else str(source)


def _language(nb: NotebookNode, code: str) -> str:
    """Return the language in which a code cell is highlighted."""
    if magic := re.match(r"\s*%%(bash|sh|html|javascript|js|latex|ruby|perl|R|cython)\b", code):
        return {"cython": "python", "R": "r"}.get(magic[1], magic[1])
    info, kernel = nb.metadata.get("language_info", {}), nb.metadata.get("kernelspec", {})
    name = str(info.get("name") or kernel.get("language") or "python").lower()
    return {"ipython": "python", "c++17": "cpp", "c++": "cpp"}.get(name, name)


def _formulas(nb: NotebookNode) -> list[str]:
    """Return the formulas of all Markdown cells that have labels."""
    sources = (_source(cell) for cell in nb.cells if cell.cell_type == "markdown")
    return [
        formula.tex
        for source in sources
        if "\\label" in source
        for formula in take_formulas(source)[1]
    ]


def _metadata(nb: NotebookNode, document: Document) -> dict[str, str]:
    """Return the template's arguments: what the notebook's metadata say of it, as Typst's code."""
    metadata = nb.metadata
    head = {}
    for key in ("title", "date"):
        if metadata.get(key):
            document.place = f"metadata {key}"
            head[key] = f"[{html.of_markdown(str(metadata[key]), document).strip()}]"
    authors = [
        str(author.get("name", "")) if isinstance(author, dict) else str(author)
        for author in metadata.get("authors") or []
    ]
    if authors:
        document.see(" ".join(authors))
        head["authors"] = f"({', '.join(string(clean(author)) for author in authors)},)"
    if abstract := _abstract(nb) or str(metadata.get("abstract") or ""):
        document.place = "abstract"
        head["abstract"] = f"[{html.of_markdown(abstract, document).strip()}]"
    if metadata.get("number_sections"):
        head["numbered"] = "true"
    return head


def _abstract(nb: NotebookNode) -> str:
    """Return the text of the cells tagged `abstract`."""
    cells = [cell for cell in nb.cells if ABSTRACT in cell.metadata.get("tags", [])]
    return "\n\n".join(map(_abstract_text, cells))


def _abstract_text(cell: NotebookNode) -> str:
    """Return the Markdown of a cell tagged `abstract`."""
    outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
    parts = [data["text/markdown"] for data in outputs if "text/markdown" in data]
    text = "\n\n".join(parts) if cell.cell_type == "code" else cell.source
    if not text.strip():
        raise ExportError(
            f"the cell {cell.source[:LIMIT]!r}, tagged {ABSTRACT!r}, has no text: write the "
            "abstract in a Markdown cell, or run a code cell that displays it as Markdown"
        )
    return text.strip()


def _unnumber_last_heading(chunks: list[Chunk]) -> None:
    """Take the number from a heading at the end, which stands over the literature."""
    filled = [chunk for chunk in chunks if chunk.typst.strip()]
    if filled and (found := LAST_HEADING.fullmatch(filled[-1].typst.strip())):
        filled[-1].typst = f"\n\n#unnumbered({found[1]})[{found[2]}];\n\n"
