"""Run notebooks with parameters: papermill, with strict parameters and one-line errors."""

import ast
import json
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from vqlib.config import typed
from vqlib.documents.convert import source_of
from vqlib.documents.notebook import not_run, read_notebook
from vqlib.errors import UserError
from vqlib.paths import shown
from vqlib.system.files import make_folder

KINDS = {"int": int, "float": float, "str": str, "bool": bool}
KERNEL = "python3"


@cache
def parameter_names(path: Path) -> tuple[str, ...]:
    """Return the names that the notebook's cell tagged `parameters` sets.

    Raises:
        UserError: if the file is no notebook or has no such cell.
    """
    return tuple(_inspect(path))


@cache
def keywords(path: Path, function: str) -> set[str] | None:
    """Return the names of the arguments that a notebook's code gives to a function.

    Returns:
        None if the code does not call it, or passes `**values`.
    """
    names: set[str] = set()
    codes = [cell for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code"]
    for cell in codes:
        with suppress(SyntaxError):  # a cell with %magic
            for node in ast.walk(ast.parse(source_of(cell))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == function:
                    names |= {keyword.arg or "**" for keyword in node.keywords}
    return None if not names or "**" in names else names


def typed_parameters(source: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters converted to the types that a notebook gives them.

    Args:
        source: a notebook with a cell tagged `parameters`.
        parameters: values by name; see `run_notebook`.

    Raises:
        UserError: if the notebook lacks a parameter or a value has the wrong type.
    """
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


def run_notebook(
    source: Path, output: Path, parameters: Mapping[str, Any], timeout: int | None = None
) -> None:
    """Run the notebook `source` with parameters, and store it with its outputs as `output`.

    `output` is written only if every cell has run. A notebook that failed is kept in the same
    folder as `<name>.failed.ipynb`.

    Args:
        source: a notebook with a cell tagged `parameters`.
        output: another file; its folder is made if it is missing.
        parameters: values by name. Text is converted to the parameter's type in the notebook, so
            `256`, `1e-3` and `true` become numbers and a truth value.
        timeout: seconds that each cell may run; None for no limit.

    Raises:
        UserError: before anything runs, if the notebook lacks a parameter or a value has the wrong
            type; later, if the kernel does not start or dies, or if a cell fails or runs out of
            time. The message names the notebook and the cell.
    """
    failed = output.with_suffix(".failed.ipynb")
    if source.resolve() in (output.resolve(), failed.resolve()):
        raise UserError(f"{output} would overwrite the notebook {source}: choose another output")
    if timeout is not None and timeout <= 0:
        raise UserError(f"timeout must be above 0 seconds, got {timeout}")
    values = typed_parameters(source, parameters)
    make_folder(output.parent)
    problem = _execute(source, failed, values, timeout) or not_run(read_notebook(failed))
    if problem:
        raise UserError(f"{source.name} for {output.stem}: {problem} (see {shown(failed)})")
    os.replace(failed, output)


def _execute(
    source: Path, output: Path, parameters: dict[str, Any], timeout: int | None
) -> str | None:
    """Run the notebook, store it as `output`, and return what went wrong, or None."""
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
        return f"{_last_cell(output, parameters)} failed: it ran longer than {timeout} s"
    except NoSuchKernel:
        raise UserError(
            f"{source.name}: the Jupyter kernel {KERNEL!r} is missing: install ipykernel"
        ) from None
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from None
    except RuntimeError as error:  # the kernel ended or hung before its first cell
        raise UserError(f"{source.name}: the kernel did not start: {error}") from None
    return None


def _last_cell(notebook: Path, parameters: Mapping[str, Any]) -> str:
    """Return which cell of a notebook stored by papermill was the last to start."""
    cells = json.loads(notebook.read_text())["cells"]
    begun = [i for i, c in enumerate(cells) if c["metadata"]["papermill"]["exception"] is not None]
    return f"cell {_number(begun[-1], parameters)}"


def _number(index: int, parameters: Mapping[str, Any]) -> int:
    """Return a cell's number in the source, from 1; papermill adds a cell for parameters."""
    return index if parameters else index + 1


def _kind(parameter: Mapping[str, str]) -> Any:
    """Return a parameter's type by its annotation or else its default, or None for any type."""
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
    """Return papermill's description of each parameter of the notebook."""
    from papermill import inspect_notebook

    read_notebook(path)
    parameters: dict[str, dict[str, str]] = inspect_notebook(str(path))
    if not parameters:
        raise UserError(f"{path} has no cell tagged 'parameters': tag the cell that sets them")
    return parameters
