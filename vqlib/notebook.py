"""Runs a notebook with parameters: papermill, but strict about names and about what failed."""

import os
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from vqlib.errors import UserError
from vqlib.runs import write_atomically


@cache
def parameter_names(path: Path) -> tuple[str, ...]:
    """Names in the notebook's cell tagged `parameters`."""
    from papermill import inspect_notebook

    _check_is_notebook(path)
    names = tuple(inspect_notebook(str(path)))
    if not names:
        raise UserError(f"{path} has no cell tagged 'parameters'")
    return names


def run_notebook(source: Path, output: Path, parameters: Mapping[str, Any]) -> None:
    """Executes `source` with parameters and stores it, with its outputs, as `output`.

    `output` appears only when every cell has run; a failed notebook is kept beside it as
    `<name>.failed.ipynb`.

    Raises:
        UserError: for a parameter that the notebook does not have (before anything runs), and
            for a cell that fails, with notebook, cell and message.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    known = parameter_names(source)
    for name in parameters:
        if name not in known:
            raise UserError(f"{source.name} has no parameter {name!r}; it has {', '.join(known)}")
    failed = output.with_suffix(".failed.ipynb")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output.parent} cannot be written: {error.strerror}") from None
    try:
        with warnings.catch_warnings(action="ignore"):
            papermill.execute_notebook(
                str(source), str(failed), dict(parameters), kernel_name="python3",
                progress_bar=False, cwd=str(source.parent),
            )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        message = f"{error.ename}: {error.evalue}".splitlines()[0]
        raise UserError(
            f"{source.name} for {output.stem}: cell {error.cell_index} failed: {message} "
            f"(see {failed})"
        ) from None
    except DeadKernelError:
        message = f"{source.name} for {output.stem}: the kernel died (see {failed})"
        raise UserError(message) from None
    os.replace(failed, output)


def _check_is_notebook(path: Path) -> None:
    import nbformat

    try:
        nbformat.validate(nbformat.read(path, as_version=4))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # nbformat raises several kinds
        problem = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a notebook: {problem}") from None


def export_pdf(notebook: Path, output: Path) -> None:
    """Writes an executed notebook as a PDF, with the exporter that `--to typst_pdf` names."""
    from vqlib.exporter import TypstPDFExporter

    _check_is_notebook(notebook)
    pdf, _ = TypstPDFExporter().from_filename(str(notebook))
    write_atomically(output, pdf)
