"""Run notebooks with parameters: papermill, with strict parameters and one-line errors."""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqlib.documents.notebook import not_run, read_notebook
from vqlib.errors import UserError
from vqlib.paths import shown
from vqlib.study.parameters import typed_parameters
from vqlib.system.files import make_folder


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
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    from vqlib.study.kernel import OwnKernel

    try:
        with warnings.catch_warnings(action="ignore"):
            papermill.execute_notebook(
                str(source), str(output), parameters, kernel_manager_class=OwnKernel,
                kernel_name="python3", language="python", progress_bar=False,
                cwd=str(source.parent), execution_timeout=timeout,
                shutdown_kernel="immediate",  # it has told all; its own end takes seconds
            )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        message = f"{error.ename}: {error.evalue}".splitlines()[0]
        return f"cell {_number(error.cell_index, parameters)} failed: {message}"
    except DeadKernelError:
        return f"{_last_cell(output, parameters)} failed: the kernel died (out of memory?)"
    except CellTimeoutError:
        return f"{_last_cell(output, parameters)} failed: it ran longer than {timeout} s"
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from None
    except RuntimeError as error:  # the kernel ended or hung before its first cell
        raise UserError(f"{source.name}: the kernel did not start: {error}") from None
    return None


def _last_cell(notebook: Path, parameters: Mapping[str, Any]) -> str:
    """Return which cell of a notebook stored by papermill was the last to start."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    begun = [i for i, c in enumerate(cells) if c["metadata"]["papermill"]["exception"] is not None]
    return f"cell {_number(begun[-1], parameters)}"


def _number(index: int, parameters: Mapping[str, Any]) -> int:
    """Return a cell's number in the source, from 1; papermill adds a cell for parameters."""
    return index if parameters else index + 1
