"""Notebooks run with parameters, and what is wrong with one is said in a line."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from vqlib import UserError
from vqlib.documents.notebook import export_pdf, parameter_names, run_notebook
from vqlib.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REPORT = ROOT / "report" / "report.ipynb"

WriteNotebook = Callable[[str], Path]


@pytest.fixture
def notebook(tmp_path: Path) -> WriteNotebook:
    """Write a notebook of a parameters cell and one more, and return its path."""

    def write(source: str) -> Path:
        parameters = new_code_cell("size: int = 1", metadata={"tags": ["parameters"]})
        content = new_notebook(cells=[parameters, new_code_cell(source)])
        content.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        content.metadata["language_info"] = {"name": "python"}
        path = tmp_path / "some.ipynb"
        nbformat.write(content, path)
        return path

    return write


def refusal(ask: Callable[[], object]) -> str:
    """The one line with which something is refused."""
    with pytest.raises(UserError) as refused:
        ask()
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_parameters_reach_the_notebook(notebook: WriteNotebook, tmp_path: Path) -> None:
    output = tmp_path / "folder" / "out.ipynb"
    run_notebook(notebook("print(size * 2)"), output, {"size": 21})
    assert nbformat.read(output, 4).cells[-1].outputs[0].text == "42\n"


@pytest.mark.faults
def test_an_unknown_parameter_is_an_error_before_anything_runs(
    notebook: WriteNotebook, tmp_path: Path
) -> None:
    source, output = notebook("print(size)"), tmp_path / "out.ipynb"
    message = refusal(lambda: run_notebook(source, output, {"sise": 2}))
    assert [fact for fact in ("some.ipynb", "'sise'", "size") if fact not in message] == []
    assert [path.name for path in tmp_path.iterdir()] == ["some.ipynb"]


def test_a_failing_cell_is_named_and_leaves_no_output_notebook(
    notebook: WriteNotebook, tmp_path: Path
) -> None:
    source, output = notebook("size / 0"), tmp_path / "out.ipynb"
    message = refusal(lambda: run_notebook(source, output, {"size": 2}))
    facts = ("some.ipynb for out", "cell 2", "ZeroDivisionError", "out.failed.ipynb")
    assert [fact for fact in facts if fact not in message] == []
    assert not output.exists()
    assert (tmp_path / "out.failed.ipynb").exists()


@pytest.mark.parametrize("name", ["01_vae_baseline", "02_vqvae"])
def test_training_notebooks_know_the_parameters_of_a_run(name: str) -> None:
    names = parameter_names(ROOT / "notebooks" / f"{name}.ipynb")
    assert {"dataset", "batch_size", "epochs", "learning_rate", "seed", "limit"} <= set(names)


@pytest.mark.faults
@pytest.mark.parametrize("content", [None, "no JSON", "{}"])
def test_what_is_no_notebook_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "some.ipynb"
    if content is not None:
        path.write_text(content)
    assert str(path) in refusal(lambda: run_notebook(path, tmp_path / "out.ipynb", {}))
    assert str(path) in refusal(lambda: export_pdf(path, tmp_path / "out.pdf"))


@pytest.mark.faults
def test_a_notebook_without_parameters_cell_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.ipynb"
    nbformat.write(new_notebook(), path)
    message = refusal(lambda: parameter_names(path))
    assert [fact for fact in (str(path), "'parameters'") if fact not in message] == []


@pytest.mark.parametrize("path", [*NOTEBOOKS, REPORT], ids=lambda path: path.stem)
def test_a_notebook_names_its_kernel_so_that_jupyterlab_need_not_ask(path: Path) -> None:
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"
