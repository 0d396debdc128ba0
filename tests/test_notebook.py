"""Running notebooks with parameters."""

import nbformat
import pytest

from vqlib import UserError
from vqlib.documents.notebook import export_pdf, parameter_names, run_notebook
from vqlib.paths import ROOT


@pytest.fixture
def notebook(tmp_path):
    """Writes a notebook of a parameters cell and one more, and returns its path."""

    def write(source):
        parameters = nbformat.v4.new_code_cell("size: int = 1  # a number")
        parameters.metadata["tags"] = ["parameters"]
        content = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(source)])
        content.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        content.metadata["language_info"] = {"name": "python"}
        path = tmp_path / "some.ipynb"
        nbformat.write(content, path)
        return path

    return write


def test_parameters_reach_the_notebook(notebook, tmp_path):
    output = tmp_path / "folder" / "out.ipynb"
    run_notebook(notebook("print(size * 2)"), output, {"size": 21})
    assert nbformat.read(output, 4).cells[-1].outputs[0].text == "42\n"


@pytest.mark.faults
def test_an_unknown_parameter_is_an_error_before_anything_runs(notebook, tmp_path):
    output = tmp_path / "out.ipynb"
    with pytest.raises(UserError, match=r"some.ipynb has no parameter 'sise'; it has size"):
        run_notebook(notebook("print(size)"), output, {"sise": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["some.ipynb"]


def test_a_failing_cell_is_named_and_leaves_no_output_notebook(notebook, tmp_path):
    output = tmp_path / "out.ipynb"
    with pytest.raises(UserError, match=r"some.ipynb for out: cell 2 failed: ZeroDivisionError: "):
        run_notebook(notebook("size / 0"), output, {"size": 2})
    assert not output.exists()
    assert (tmp_path / "out.failed.ipynb").exists()


@pytest.mark.parametrize("name", ["01_vae_baseline", "02_vqvae"])
def test_training_notebooks_know_the_parameters_of_a_run(name):
    names = parameter_names(ROOT / "notebooks" / f"{name}.ipynb")
    assert {"dataset", "batch_size", "epochs", "learning_rate", "seed", "limit"} <= set(names)


@pytest.mark.faults
@pytest.mark.parametrize("content", [None, "no JSON", "{}"])
def test_what_is_no_notebook_is_refused_by_name(tmp_path, content):
    path = tmp_path / "some.ipynb"
    if content is not None:
        path.write_text(content)
    for use in (
        lambda: run_notebook(path, tmp_path / "out.ipynb", {}),
        lambda: export_pdf(path, path),
    ):
        with pytest.raises(
            UserError, match=r"some.ipynb (cannot be read|is not a notebook): "
        ) as error:
            use()
        assert "\n" not in str(error.value)


@pytest.mark.faults
def test_a_notebook_without_parameters_cell_is_refused(tmp_path):
    path = tmp_path / "bare.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), path)
    with pytest.raises(UserError, match="no cell tagged 'parameters'"):
        parameter_names(path)


@pytest.mark.parametrize(
    "path", [*(ROOT / "notebooks").glob("*.ipynb"), ROOT / "report" / "report.ipynb"]
)
def test_a_notebook_names_its_kernel_so_that_jupyterlab_need_not_ask(path):
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"
