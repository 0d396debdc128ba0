"""Runs a notebook with parameters: papermill, but strict about names, types and what failed."""

import ast
import json
import os
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from vqlib.config import typed
from vqlib.errors import UserError
from vqlib.paths import shown
from vqlib.system.files import make_folder, write_atomically

KINDS = {"int": int, "float": float, "str": str, "bool": bool}
KERNEL = "python3"
ADDED = {"injected-parameters", "papermill-error-cell-tag"}  # cells that papermill puts in


@cache
def parameter_names(path: Path) -> tuple[str, ...]:
    """Names in the notebook's cell tagged `parameters`."""
    return tuple(_inspect(path))


def run_notebook(
    source: Path, output: Path, parameters: Mapping[str, Any], timeout: int | None = None
) -> None:
    """Executes `source` with parameters and stores it, with its outputs, as `output`.

    `output` appears only when every cell has run; a failed notebook is kept beside it as
    `<name>.failed.ipynb`.

    Args:
        source: a notebook with a cell tagged `parameters`.
        output: another file; its folder is made.
        parameters: values by name; text is taken as the type that the notebook gives, so that
            `256`, `1e-3` and `true` are what they look like.
        timeout: seconds that a cell may run; None for ever.

    Raises:
        UserError: for a parameter that the notebook does not have or that is not of its type
            (before anything runs), for a cell that fails or runs out of time and a kernel that
            dies, with notebook, cell and message, and for a kernel that does not start.
    """
    failed = output.with_suffix(".failed.ipynb")
    if source.resolve() in (output.resolve(), failed.resolve()):
        raise UserError(f"{output} would write over {source}: give another file for the output")
    if timeout is not None and timeout <= 0:
        raise UserError(f"timeout must be above 0, got {timeout}")
    values = _typed_parameters(source, parameters)
    make_folder(output.parent)
    problem = _execute(source, failed, values, timeout) or _not_run(failed)
    if problem:
        raise UserError(f"{source.name} for {output.stem}: {problem} (see {shown(failed)})")
    os.replace(failed, output)


def _execute(
    source: Path, output: Path, parameters: dict[str, Any], timeout: int | None
) -> str | None:
    """Runs the notebook into `output`, and returns what went wrong, if anything."""
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    try:
        with warnings.catch_warnings(action="ignore"):
            papermill.execute_notebook(
                str(source), str(output), parameters, kernel_name=KERNEL,
                progress_bar=False, cwd=str(source.parent), execution_timeout=timeout,
            )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        message = f"{error.ename}: {error.evalue}".splitlines()[0]
        return f"cell {_number(error.cell_index, parameters)} failed: {message}"
    except DeadKernelError:
        return f"{_last_cell(output, parameters)} failed: the kernel died (out of memory?)"
    except CellTimeoutError:
        return f"{_last_cell(output, parameters)} failed: it ran for more than {timeout} s"
    except NoSuchKernel:
        raise UserError(
            f"{source.name}: there is no Jupyter kernel {KERNEL!r} here: install ipykernel"
        ) from None
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from None
    except RuntimeError as error:  # the kernel ended or hung before its first cell
        raise UserError(f"{source.name}: the kernel did not start: {error}") from None
    return None


def _last_cell(notebook: Path, parameters: Mapping[str, Any]) -> str:
    """The last cell that was begun in a notebook that papermill stored."""
    cells = json.loads(notebook.read_text())["cells"]
    begun = [i for i, c in enumerate(cells) if c["metadata"]["papermill"]["exception"] is not None]
    return f"cell {_number(begun[-1], parameters)}"


def _number(index: int, parameters: Mapping[str, Any]) -> int:
    """Which cell of the source it is, from 1; papermill adds one where there are parameters."""
    return index if parameters else index + 1


def _typed_parameters(source: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    known = _inspect(source)
    for name in parameters:
        if name not in known:
            raise UserError(f"{source.name} has no parameter {name!r}; it has {', '.join(known)}")
    try:
        return {
            name: typed(name, value, _kind(known[name])) if _kind(known[name]) else value
            for name, value in parameters.items()
        }
    except UserError as error:
        raise UserError(f"{source.name}: {error}") from None


def _kind(parameter: Mapping[str, str]) -> Any:
    """The type of a parameter by its annotation, else by its default; None where neither says."""
    try:
        default = ast.literal_eval(parameter["default"])
    except (SyntaxError, ValueError):  # an expression
        default = ...
    kind = KINDS.get(parameter["inferred_type_name"], type(default))
    if kind not in KINDS.values():
        return None
    return kind | None if default is None else kind


@cache
def _inspect(path: Path) -> dict[str, dict[str, str]]:
    """What papermill says about each parameter of the notebook."""
    from papermill import inspect_notebook

    _read(path)
    parameters = inspect_notebook(str(path))
    if not parameters:
        raise UserError(f"{path} has no cell tagged 'parameters'")
    return parameters


def export_pdf(notebook: Path, output: Path) -> None:
    """Writes an executed notebook as a PDF, with the exporter that `--to typst_pdf` names.

    Raises:
        UserError: where it is no notebook, or one that did not run to its end.
    """
    from vqlib.documents.exporter import TypstPDFExporter

    if problem := _not_run(notebook):
        raise UserError(f"{notebook} did not run to its end: {problem}")
    pdf, _ = TypstPDFExporter().from_filename(str(notebook))
    write_atomically(output, pdf)


def _not_run(notebook: Path) -> str | None:
    """The first cell that failed or that has not run at all, if there is one."""
    cells = [c for c in _read(notebook).cells if not ADDED & set(c.metadata.get("tags", []))]
    for number, cell in enumerate(cells, 1):
        if cell.cell_type == "code" and cell.source.strip():
            if any(said.output_type == "error" for said in cell.outputs):
                return f"cell {number} of it failed"
            if cell.execution_count is None:
                return f"cell {number} of it has not run"
    return None


def _read(path: Path) -> Any:
    """The notebook in a file, checked against the format's schema."""
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # nbformat raises several kinds
        problem = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a notebook: {problem}") from None
    return notebook
