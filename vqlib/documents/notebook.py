"""Read notebooks from files, and write them as PDF files."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqlib.documents.convert import Shown, convert, source_of
from vqlib.errors import UserError
from vqlib.system.files import write_atomically

ADDED = {"injected-parameters", "papermill-error-cell-tag"}  # tags of cells that papermill adds


def export_pdf(notebook: Path, output: Path, strict: bool = False, code: bool = True) -> None:
    """Write a notebook as a PDF, as `jupyter nbconvert --to typst_pdf` does.

    Args:
        notebook: its file.
        output: the PDF's.
        strict: whether every cell must have run, and everything must be there that the notebook
            shows. Otherwise a line on standard error says what is missing.
        code: whether to print the code of cells.

    Raises:
        UserError: if the file is no notebook; in a strict export also if a cell failed or has not
            run, or if the PDF would lack something.
    """
    content = read_notebook(notebook)
    problem = not_run(content)
    if problem and strict:
        raise UserError(f"{notebook} did not run to its end: {problem}: run it again")
    numbers = range(1, len(content["cells"]) + 1)
    pdf, notes = convert(content, notebook.parent.resolve(), strict, Shown(code=code), numbers)
    write_atomically(output, pdf)
    for note in notes:
        print(f"{notebook.name}: {note}", file=sys.stderr)


def not_run(notebook: Mapping[str, Any]) -> str | None:
    """Return which cell was the first that failed or has not run, or None."""
    cells = [c for c in notebook["cells"] if not ADDED & set(c.get("metadata", {}).get("tags", []))]
    for number, cell in enumerate(cells, 1):
        if cell["cell_type"] == "code" and source_of(cell).strip():
            if any(output.get("output_type") == "error" for output in cell.get("outputs", [])):
                return f"cell {number} failed"
            if cell.get("execution_count") is None:
                return f"cell {number} has not run"
    return None


def read_notebook(path: Path) -> dict[str, Any]:
    """Return the content of a notebook's file in format 4; older formats are converted.

    Raises:
        UserError: if the file cannot be read or is no notebook.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text)
        if content.get("nbformat") != 4:
            import nbformat  # slow, and needed for old formats only

            content = nbformat.reads(text, as_version=4)
        if problem := _malformed(content):
            raise ValueError(problem)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # nbformat raises several kinds
        problem = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a notebook: {problem}") from None
    return dict(content)


def _malformed(content: Mapping[str, Any]) -> str | None:
    """Return what a notebook has that no notebook of format 4 can have, or None."""
    cells = content.get("cells")
    if not isinstance(cells, list) or not isinstance(content.get("metadata", {}), dict):
        return "it has no list of cells"
    for number, cell in enumerate(cells, 1):
        if not isinstance(cell, dict) or "cell_type" not in cell:
            return f"cell {number} has no type"
        outputs = cell.get("outputs") or []
        parts = [cell.get("metadata", {}), *(outputs if isinstance(outputs, list) else [None])]
        if not all(isinstance(part, dict) for part in parts):
            return f"cell {number} is malformed"
    return None
