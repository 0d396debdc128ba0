"""Notebooks run with parameters of the right type, and what is wrong with one is told in a line."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import papermill
import pytest
from conftest import refusal
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from vqlib.cli import main
from vqlib.documents.notebook import export_pdf
from vqlib.paths import ROOT
from vqlib.study.notebook import run_notebook
from vqlib.study.parameters import keywords, parameters_of

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REPORTS = sorted((ROOT / "report").glob("*.ipynb"))
PARAMETERS = """\
size: int = 1
rate: float = 1e-3
limit: int = None
plain = 2
name: str = 'x'
flag: bool = False"""

WriteNotebook = Callable[..., Path]


@pytest.fixture
def notebook(tmp_path: Path) -> WriteNotebook:
    """Return a function that writes a notebook: a title, parameters, and other cells of code."""

    def write(*sources: str) -> Path:
        parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        others = [new_code_cell(source) for source in sources]
        content = new_notebook(cells=[new_markdown_cell("# Title"), parameters, *others])
        content.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        content.metadata["language_info"] = {"name": "python"}
        nbformat.write(content, tmp_path / "some.ipynb")
        return tmp_path / "some.ipynb"

    return write


# --- parameters ----------------------------------------------------------------------------


def test_parameters_reach_the_notebook(notebook: WriteNotebook, tmp_path: Path) -> None:
    output = tmp_path / "folder" / "out.ipynb"
    run_notebook(notebook("print(size * 2)"), output, {"size": 21})
    assert nbformat.read(output, 4).cells[-1].outputs[0].text == "42\n"


@pytest.mark.faults
def test_text_becomes_the_type_that_the_notebook_gives(
    notebook: WriteNotebook, tmp_path: Path
) -> None:
    # every value on a command line is text
    text = {"size": "256", "rate": "1e-3", "limit": "none", "plain": "7", "name": "7",
            "flag": "true"}  # fmt: skip
    arguments = [argument for pair in text.items() for argument in ("-p", *pair)]
    output = tmp_path / "out.ipynb"
    source = notebook("print([size, rate, limit, plain, name, flag])")
    main(["notebook", str(source), str(output), *arguments])
    printed = nbformat.read(output, 4).cells[-1].outputs[0].text
    assert printed == "[256, 0.001, None, 7, '7', True]\n"


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "value", "facts"),
    [
        *(("size", value, ["whole number", repr(value)]) for value in
          ("true", "1e-3", 2.5, True, "none")),
        ("limit", "few", ["whole number", "'few'"]),
        ("plain", "many", ["whole number", "'many'"]),
        ("rate", "fast", ["number", "'fast'"]),
        ("rate", "nan", ["number", "'nan'"]),
        ("name", 3, ["text", "3"]),
        ("flag", "maybe", ["true or false", "'maybe'"]),
        ("flag", 1, ["true or false", "1"]),
        ("sise", 1, ["'sise'", "size, rate, limit, plain, name, flag"]),
    ],
)  # fmt: skip
def test_an_unknown_or_mistyped_parameter_is_refused_before_anything_runs(
    notebook: WriteNotebook, tmp_path: Path, name: str, value: object, facts: list[str]
) -> None:
    source, output = notebook("1"), tmp_path / "out.ipynb"
    refusal(lambda: run_notebook(source, output, {name: value}), source.name, name, *facts)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.faults
def test_a_notebook_without_parameters_cell_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.ipynb"
    nbformat.write(new_notebook(), path)
    refusal(lambda: parameters_of(path), path, "'parameters'")


@pytest.mark.parametrize("name", ["01_vae_baseline", "02_vqvae"])
def test_training_notebooks_know_the_parameters_of_a_run(name: str) -> None:
    names = parameters_of(ROOT / "notebooks" / f"{name}.ipynb")
    assert {"dataset", "batch_size", "epochs", "learning_rate", "seed", "limit"} <= set(names)


def test_the_arguments_that_a_notebook_gives_to_a_function_are_known(
    notebook: WriteNotebook,
) -> None:
    source = notebook("%matplotlib inline\nshow(name=1)", "show(size=size,\n     rate=rate)")
    assert keywords(source, "show") == {"size", "rate"}
    assert keywords(source, "fit") is None


def test_arguments_in_a_dictionary_cannot_be_known(notebook: WriteNotebook) -> None:
    assert keywords(notebook("show(size=1, **others)"), "show") is None


# --- in a notebook -------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("errors.UserError('epochs must be above 0')", "UserError: epochs must be above 0"),
        ("errors.InterruptError('run the same again')", "InterruptError: run the same again"),
    ],
)
def test_a_mistake_is_one_line_in_a_notebook_and_still_a_failure(
    notebook: WriteNotebook, tmp_path: Path, error: str, line: str
) -> None:
    output = tmp_path / "out.ipynb"
    source = notebook(f"from vqlib import errors\n\ndef f():\n    raise {error}\n\nf()")
    with pytest.raises(papermill.PapermillExecutionError):
        papermill.execute_notebook(source, output, progress_bar=False)
    (shown,) = nbformat.read(output, 4).cells[-1].outputs
    assert shown.traceback == [line]
    assert f"{shown.ename}: {shown.evalue}" == line


@pytest.mark.faults
def test_a_path_that_papermill_made_a_number_is_told_before_anything_runs(tmp_path: Path) -> None:
    """`papermill -p results 2026` passes the number 2026."""
    output, source = tmp_path / "out.ipynb", ROOT / "notebooks" / "01_vae_baseline.ipynb"
    with pytest.raises(papermill.PapermillExecutionError) as failed:
        papermill.execute_notebook(source, output, {"results": 2026}, progress_bar=False)
    assert failed.value.ename == "UserError"
    assert "-r, not -p" in failed.value.evalue


# --- what runs, and what does not ----------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("size / 0", "ZeroDivisionError"),
        ("raise ValueError('first\\nsecond')", "ValueError: first"),
        ("import os; os._exit(1)", "kernel died"),
        ("import time; time.sleep(60)", "5 s"),
        ("import sys; sys.exit()", "failed"),
    ],
)
def test_a_notebook_that_stops_names_cell_and_cause_and_leaves_no_result(
    notebook: WriteNotebook, tmp_path: Path, source: str, cause: str
) -> None:
    output, path = tmp_path / "out.ipynb", notebook("1", source, "2")
    failed, pdf = tmp_path / "out.failed.ipynb", tmp_path / "out.pdf"
    facts = (path.name, output.stem, "cell 4", cause, failed)
    refusal(lambda: run_notebook(path, output, {"size": 2}, timeout=5), *facts)
    assert not output.exists()
    refusal(
        lambda: export_pdf(failed, pdf, strict=True), failed, "cell"
    )  # 4 or, after a dead kernel, 5
    assert not pdf.exists()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (RuntimeError("no answer in 60 seconds"), ["some.ipynb", "no answer in 60 seconds"]),
        (OSError(28, "No space left on device"), ["out.failed.ipynb", "No space left on device"]),
    ],
    ids=["kernel does not start", "full disk"],
)
def test_a_notebook_that_cannot_be_started_or_stored_is_told(
    notebook: WriteNotebook,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    facts: list[str],
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise error

    source, output = notebook("1"), tmp_path / "out.ipynb"
    monkeypatch.setattr(papermill, "execute_notebook", fail)
    refusal(lambda: run_notebook(source, output, {}), *facts)
    assert not output.exists()


@pytest.mark.faults
@pytest.mark.parametrize("seconds", [0, -1])
def test_no_time_at_all_for_a_cell_is_refused(
    notebook: WriteNotebook, tmp_path: Path, seconds: int
) -> None:
    source, output = notebook("1"), tmp_path / "out.ipynb"
    refusal(lambda: run_notebook(source, output, {}, seconds), "timeout", f"got {seconds}")


@pytest.mark.faults
@pytest.mark.parametrize("content", [None, "no JSON", "{}"])
def test_what_is_no_notebook_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "some.ipynb"
    if content is not None:
        path.write_text(content)
    refusal(lambda: run_notebook(path, tmp_path / "out.ipynb", {}), path)
    refusal(lambda: export_pdf(path, tmp_path / "out.pdf"), path)


@pytest.mark.faults
def test_a_notebook_is_never_overwritten_by_its_own_output(
    notebook: WriteNotebook, tmp_path: Path
) -> None:
    source = notebook("1")
    before = source.read_bytes()
    refusal(lambda: run_notebook(source, source, {}), source, "overwrite")
    failed = source.rename(tmp_path / "n.failed.ipynb")
    refusal(lambda: run_notebook(failed, tmp_path / "n.ipynb", {}), failed, "overwrite")
    assert failed.read_bytes() == before


@pytest.mark.faults
def test_a_notebook_that_has_not_run_makes_no_pdf(notebook: WriteNotebook, tmp_path: Path) -> None:
    source, pdf = notebook("1"), tmp_path / "out.pdf"
    refusal(lambda: export_pdf(source, pdf, strict=True), source, "cell 2", "not run")
    assert not pdf.exists()


@pytest.mark.parametrize("path", [*NOTEBOOKS, *REPORTS], ids=lambda path: path.stem)
def test_a_notebook_names_its_kernel_so_that_jupyterlab_need_not_ask(path: Path) -> None:
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"
