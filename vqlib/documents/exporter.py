"""Convert notebooks to PDF with pandoc and Typst: no TeX, no browser, no network.

nbconvert finds the exporter as `typst_pdf`: `jupyter nbconvert --to typst_pdf report.ipynb`. Every
warning of pandoc or Typst is an error here, so a PDF that was written lacks nothing.
"""

import html
import re
import tempfile
from pathlib import Path
from typing import Any

from nbconvert.exporters import Exporter, MarkdownExporter
from nbconvert.filters import get_metadata, strip_ansi
from nbformat import NotebookNode
from traitlets.config import Config

from vqlib.documents.pandoc import ExportError, find_bibliography, read_markdown, write_typst

# What the template takes from a notebook's metadata
METADATA = ("title", "authors", "date", "abstract", "number_sections")
ABSTRACT = "abstract"  # the tag of a cell
IMAGES = ("image/svg+xml", "application/pdf", "image/png", "image/jpeg")
WIDGET = "application/vnd.jupyter.widget-view+json"
SHOWN = ["text/markdown", *IMAGES, "text/html", "text/latex", "text/plain"]  # preferred first

# A comment separates the cells; without it, two lists in a row would become one.
CELLS = """{% extends "markdown/index.md.j2" %}
{% block any_cell scoped %}

<!-- -->

{{ super() }}
{% endblock %}
{% block input scoped %}
{% if cell.source.strip() and not nb.metadata.get("hide_code") %}
{{ cell.source | fenced(nb.metadata.get("language_info", {}).get("name", "python")) }}
{% endif %}
{% endblock %}
{% block stream scoped %}{{ output.text | fenced("output") }}{% endblock %}
{% block error scoped %}{{ output.traceback | join("\n") | fenced("output") }}{% endblock %}
{% block data_text scoped %}{{ output.data["text/plain"] | fenced("output") }}{% endblock %}
{% block data_html scoped %}{{ output.data["text/html"] | fenced("{=html}") }}{% endblock %}
{% block data_svg scoped %}{{ output | image(cell) }}{% endblock %}
{% block data_pdf scoped %}{{ output | image(cell) }}{% endblock %}
{% block data_png scoped %}{{ output | image(cell) }}{% endblock %}
{% block data_jpg scoped %}{{ output | image(cell) }}{% endblock %}
"""


class TypstPDFExporter(Exporter):
    """An nbconvert exporter that writes a notebook as a PDF.

    The notebook's metadata give title, authors, date, abstract, bibliography, `number_sections`
    and `hide_code`. Without a title in the metadata, the first heading of level 1 is the title. A
    cell tagged `abstract` replaces the metadata's abstract: a Markdown cell with its source, a
    code cell with its Markdown output.

    A cell's metadata may give its picture a `caption` and a `label`. The alt text of a picture is
    that of the output's metadata (`metadata["image/png"]["alt"]`), or the `alt` attribute of a
    Markdown picture (`![caption](file){#fig-x alt="..."}`), or else the text of the picture.
    """

    export_from_notebook = "PDF (Typst)"
    file_extension = ".pdf"
    output_mimetype = "application/pdf"

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

        Relative paths in the notebook start at `resources["metadata"]["path"]`.

        Raises:
            ExportError: if the PDF would lack something, such as a citation or a picture.
        """
        nb, resources = super().from_notebook_node(nb, resources, **kwargs)
        folder = Path(resources["metadata"].get("path") or ".").resolve()
        metadata = {key: nb.metadata.get(key) for key in METADATA}
        if abstract := _take_abstract(nb):
            metadata["abstract"] = abstract
        with tempfile.TemporaryDirectory() as name:
            build = Path(name)
            markdown = self._markdown(nb, build)
            document = read_markdown(markdown, metadata, build)
            bibliography = find_bibliography(nb.metadata.get("bibliography"), folder)
            typst = write_typst(document, bibliography, folder, build)
            pdf = _compile(typst, build)
        resources.pop("outputs", None)
        return pdf, resources

    def _markdown(self, nb: NotebookNode, build: Path) -> str:
        """Return the notebook as Markdown, and write its pictures to files in `build`."""
        for cell in nb.cells:
            for output in cell.get("outputs", []):
                _keep_printable(output)
        config = Config(
            {
                "NbConvertBase": {"display_data_priority": SHOWN},
                "TemplateExporter": self.config.get("TemplateExporter", {}),  # such as --no-input
            }
        )
        exporter = MarkdownExporter(
            config=config, raw_template=CELLS, filters={"fenced": _fenced, "image": _image}
        )
        place = {"unique_key": "output", "output_files_dir": "outputs"}
        markdown, resources = exporter.from_notebook_node(nb, place)
        for name, data in resources["outputs"].items():
            path = build / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        return markdown


def _take_abstract(nb: NotebookNode) -> str:
    """Remove the cells tagged `abstract` from a notebook, and return their text."""
    cells = [cell for cell in nb.cells if ABSTRACT in cell.metadata.get("tags", [])]
    nb.cells = [cell for cell in nb.cells if cell not in cells]
    return "\n\n".join(map(_abstract_text, cells))


def _abstract_text(cell: NotebookNode) -> str:
    """Return the Markdown of a cell tagged `abstract`."""
    outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
    parts = [data["text/markdown"] for data in outputs if "text/markdown" in data]
    text = "\n\n".join(parts) if cell.cell_type == "code" else cell.source
    if not text.strip():
        raise ExportError(
            f"the cell {cell.source[:60]!r}, tagged {ABSTRACT!r}, has no text: write the abstract "
            "in a Markdown cell, or run a code cell that displays it as Markdown"
        )
    return text.strip()


def _keep_printable(output: NotebookNode) -> None:
    """Remove HTML that shows only in a browser, and leave a note if nothing else is left."""
    data = output.get("data")
    if data is None:
        return
    if WIDGET in data and not set(IMAGES) & set(data):
        output.data = {"text/plain": "[interactive widget: not in print]"}
        return
    page = data.get("text/html", "")
    visible = re.sub(r"<(script|style)\b.*?</\1>|<(?!img|svg)[^>]*>", "", page, flags=re.DOTALL)
    if not visible.strip():
        data.pop("text/html", None)
    if not set(SHOWN) & set(data):
        data["text/plain"] = f"[no printable form: {', '.join(data) or 'empty output'}]"


def _fenced(text: str, kind: str) -> str:
    """Return text as a code block that shows what a terminal would show."""
    lines = (
        line.rsplit("\r", 1)[-1] for line in strip_ansi(text).replace("\r\n", "\n").split("\n")
    )
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = "\n".join(lines).rstrip()
    return f"\n{fence}{kind}\n{body}\n{fence}\n" if body else ""


def _image(output: NotebookNode, cell: NotebookNode) -> str:
    """Return the Markdown of a picture, with its caption, label and alt text if there are any."""
    files = output.metadata["filenames"]
    file = next(files[mimetype] for mimetype in IMAGES if mimetype in output.data)
    alts = (get_metadata(output, "alt", mimetype) for mimetype in IMAGES)
    alt = " ".join(next(filter(None, alts), "").split())
    caption = " ".join(cell.metadata.get("caption", "").split())
    label = cell.metadata.get("label")
    attributes = [f"#{label}"] if label else []
    if alt:  # in attributes, pandoc decodes entities and takes a backslash for an escape
        attributes.append(f'alt="{html.escape(alt)}"'.replace("\\", "&#92;"))
    braces = f"{{{' '.join(attributes)}}}" if attributes else ""
    return f"\n![{caption}](<{file}>){braces}\n"


def _compile(source: str, build: Path) -> bytes:
    """Return the PDF of a Typst source, set in Typst's own fonts to be the same everywhere."""
    import typst

    path = build / "main.typ"
    path.write_text(source, encoding="utf-8")
    try:
        pdf, warnings = typst.compile_with_warnings(
            str(path), root=str(build), ignore_system_fonts=True
        )
    except typst.TypstError as error:
        raise ExportError(f"Typst: {_diagnostic(error)}") from None
    lacking = [warning for warning in warnings if " is deprecated" not in warning.message]
    if lacking:
        raise ExportError(f"Typst: {'; '.join(map(_diagnostic, lacking))}")
    return pdf


def _diagnostic(problem: Any) -> str:
    """Return a Typst error or warning with its hints, in one line."""
    return " ".join("; ".join([problem.message, *problem.hints]).split())
