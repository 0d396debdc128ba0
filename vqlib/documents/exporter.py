"""Print any notebook as PDF from nbconvert and JupyterLab: no TeX, no browser, no network.

nbconvert finds the exporter as `typst_pdf`: `jupyter nbconvert --to typst_pdf report.ipynb`, and
as `typst_pdf_no_code`, which leaves out the code. Whatever cannot be shown leaves a note in its
place and a line in the log; a strict export fails instead and names all of it.
"""

import copy
from pathlib import Path
from typing import Any

from nbconvert.exporters import Exporter
from nbconvert.utils.exceptions import ConversionException
from nbformat import NotebookNode
from traitlets import Bool
from traitlets.config import Config

from vqlib.documents.convert import Shown, convert
from vqlib.documents.outputs import IMAGES
from vqlib.errors import UserError

__all__ = ["IMAGES", "ExportError", "TypstPDFExporter", "TypstPDFNoCodeExporter"]

NUMBER = "vqlib_number"  # where a cell's metadata keep its number while preprocessors remove cells


class ExportError(UserError, ConversionException):
    """A notebook that cannot be printed as it is; the message says why and what to do."""


class TypstPDFExporter(Exporter):
    """An nbconvert exporter that writes a notebook as a PDF.

    The notebook's metadata give title, authors, date, abstract, bibliography, `number_sections`
    and `hide_code`. Without a title in the metadata, a heading of level 1 with which the notebook
    begins is the title. A cell tagged `abstract` replaces the metadata's abstract: a Markdown cell
    with its source, a code cell with its Markdown output. Cells tagged `remove_cell`,
    `remove_input` (or `hide_input`) and `remove_output` are left out, or their part is.

    A cell's metadata may give its picture a `caption` and a `label`. The alt text of a picture is
    that of the output's metadata (`metadata["image/png"]["alt"]`), or the `alt` attribute of a
    Markdown picture (`![caption](file){#fig-x alt="..."}`), or else the text of the picture.
    """

    export_from_notebook = "PDF (Typst)"
    file_extension = ".pdf"
    output_mimetype = "application/pdf"

    strict = Bool(False, help="Fail if anything cannot be shown, and name all of it.").tag(
        config=True
    )
    show_code = Bool(True, help="Print the code of cells.").tag(config=True)

    @property
    def default_config(self) -> Config:
        """Settings of nbconvert: tags that the user names hide cells, too."""
        return Config({"TagRemovePreprocessor": {"enabled": True}})

    # nbconvert declares that exporters return a notebook, but each returns the form it exports.
    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kwargs: Any
    ) -> tuple[bytes, dict[str, Any]]:
        """Return a notebook as a PDF, together with nbconvert's resources.

        What the PDF lacks is in `resources["notes"]`, a line each, and in the log. Relative paths
        in the notebook start at `resources["metadata"]["path"]`.

        Raises:
            ExportError: if the export is strict and the PDF would lack something, such as a
                citation or a picture; the message names all of it.
        """
        numbered = copy.deepcopy(nb)
        for number, cell in enumerate(numbered.cells, 1):
            cell.setdefault("metadata", NotebookNode())[NUMBER] = number
        nb, resources = super().from_notebook_node(numbered, resources, **kwargs)
        folder = Path(resources["metadata"].get("path") or ".").resolve()
        options = self.config.get("TemplateExporter", {})  # such as --no-input
        shown = Shown(
            code=self.show_code and not options.get("exclude_input"),
            output=not options.get("exclude_output"),
            markdown=not options.get("exclude_markdown"),
            raw=not options.get("exclude_raw"),
        )
        numbers = [cell.metadata[NUMBER] for cell in nb.cells]
        try:
            pdf, notes = convert(nb, folder, self.strict, shown, numbers)
        except UserError as error:
            raise ExportError(str(error)) from None
        for note in notes:
            self.log.warning(note)
        return pdf, resources | {"notes": notes}


class TypstPDFNoCodeExporter(TypstPDFExporter):
    """An nbconvert exporter that writes a notebook as a PDF without its code."""

    export_from_notebook = "PDF without code (Typst)"
    show_code = Bool(False, help="Print the code of cells.").tag(config=True)
