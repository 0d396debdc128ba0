"""Bad inputs and accidents: each is told in one line, and no number comes of it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from faults import reseal

from vqlib import (
    Run,
    TrainConfig,
    UserError,
)
from vqlib.cli import main
from vqlib.documents.notebook import export_pdf, run_notebook
from vqlib.figures import metric_by_batch_size, save_figure
from vqlib.study import Study, load_runs, load_summary, status, summarise, write_summary
from vqlib.study import run as studies
from vqlib.system.files import sole_writer

pytestmark = pytest.mark.faults

MakeConfig = Callable[..., TrainConfig]


def refusal(ask: Callable[[], object]) -> str:
    """The one line with which something is refused."""
    with pytest.raises(UserError) as refused:
        ask()
    message = str(refused.value)
    assert "\n" not in message
    return message


# --- notebooks -----------------------------------------------------------------------------


@pytest.fixture
def notebook(tmp_path: Path) -> Callable[..., Path]:
    """Write a notebook of a title, a parameters cell and others, and return its path."""
    parameters = (
        "size: int = 1\nrate: float = 1e-3\nlimit: int = None\nplain = 2\n"
        "name: str = 'x'\nflag: bool = False"
    )

    def write(*sources: str) -> Path:
        cells = [nbformat.v4.new_markdown_cell("# Title")]
        cells += [nbformat.v4.new_code_cell(source) for source in (parameters, *sources)]
        cells[1].metadata["tags"] = ["parameters"]
        content = nbformat.v4.new_notebook(cells=cells)
        content.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        content.metadata["language_info"] = {"name": "python"}
        nbformat.write(content, tmp_path / "some.ipynb")
        return tmp_path / "some.ipynb"

    return write


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
        ("sise", 1, ["size, rate, limit, plain, name, flag"]),
    ],
)  # fmt: skip
def test_mistyped_parameter_is_refused_before_anything_runs(
    notebook: Callable[..., Path], tmp_path: Path, name: str, value: object, facts: list[str]
) -> None:
    source = notebook("1")
    message = refusal(lambda: run_notebook(source, tmp_path / "out.ipynb", {name: value}))
    assert [fact for fact in ("some.ipynb", name, *facts) if fact not in message] == []
    assert [path.name for path in tmp_path.iterdir()] == ["some.ipynb"]


def test_text_becomes_the_type_that_the_notebook_gives(
    notebook: Callable[..., Path], tmp_path: Path
) -> None:
    """Every value on a command line is text."""
    text = {"size": "256", "rate": "1e-3", "limit": "none", "plain": "7", "name": "7",
            "flag": "true"}  # fmt: skip
    arguments = [argument for pair in text.items() for argument in ("-p", *pair)]
    output = tmp_path / "out.ipynb"
    source = notebook("print([size, rate, limit, plain, name, flag])")
    main(["notebook", str(source), str(output), *arguments])
    printed = nbformat.read(output, 4).cells[-1].outputs[0].text
    assert printed == "[256, 0.001, None, 7, '7', True]\n"


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import os; os._exit(1)", "kernel died"),
        ("import time; time.sleep(60)", "5 s"),
        ("import sys; sys.exit()", "failed"),
        ("raise ValueError('first\\nsecond')", "ValueError: first"),
    ],
)
def test_notebook_that_stops_names_cell_and_cause_and_is_no_result(
    notebook: Callable[..., Path], tmp_path: Path, source: str, cause: str
) -> None:
    output, path = tmp_path / "out.ipynb", notebook("1", source, "2")
    failed, pdf = tmp_path / "out.failed.ipynb", tmp_path / "out.pdf"
    message = refusal(lambda: run_notebook(path, output, {"size": 2}, timeout=5))
    facts = ("some.ipynb for out", "cell 4", cause, str(failed))
    assert [fact for fact in facts if fact not in message] == []
    assert not output.exists()
    assert f"{failed} did not run to its end: cell" in refusal(lambda: export_pdf(failed, pdf))
    assert not pdf.exists()


def test_notebook_that_has_not_run_makes_no_pdf(
    notebook: Callable[..., Path], tmp_path: Path
) -> None:
    source = notebook("1")
    message = refusal(lambda: export_pdf(source, tmp_path / "out.pdf"))
    assert [fact for fact in (str(source), "cell 2", "not run") if fact not in message] == []


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        ("NoSuchKernel", ["some.ipynb", "'python3'", "install ipykernel"]),
        ("RuntimeError", ["some.ipynb", "no answer in 60 seconds"]),
        ("OSError", ["out.failed.ipynb", "No space left on device"]),
    ],
)
def test_notebook_that_cannot_be_begun_or_stored_is_told(
    notebook: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
    facts: list[str],
) -> None:
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel

    errors = {
        "NoSuchKernel": NoSuchKernel("python3"),
        "RuntimeError": RuntimeError("no answer in 60 seconds"),
        "OSError": OSError(28, "No space left on device"),
    }

    def fail(*_args: object, **_options: object) -> None:
        raise errors[error]

    source = notebook("1")
    monkeypatch.setattr(papermill, "execute_notebook", fail)
    message = refusal(lambda: run_notebook(source, tmp_path / "out.ipynb", {}))
    assert [fact for fact in facts if fact not in message] == []
    assert not (tmp_path / "out.ipynb").exists()


def test_a_notebook_is_not_written_over_by_its_own_output(
    notebook: Callable[..., Path], tmp_path: Path
) -> None:
    source = notebook("1")
    before = source.read_bytes()
    assert f"overwrite the notebook {source}" in refusal(lambda: run_notebook(source, source, {}))
    assert source.read_bytes() == before


# --- studies -------------------------------------------------------------------------------


@pytest.fixture
def mine(small_runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A finished study of both models with its summary."""
    monkeypatch.setattr(studies, "ROOT", tmp_path)
    study = Study("mine", [run.config for run in small_runs.values()])
    for run in small_runs.values():
        shutil.copytree(run.folder, study.folder / run.folder.name)
    write_summary(study)
    return study


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def train_again(run: Path) -> None:
    """Another figure, with a checksum that fits."""
    evaluation = run / "evaluation.json"
    change_json(evaluation, test_ssim=0.5)
    reseal(run)


def test_summary_and_runs_that_fit_are_taken(
    mine: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = load_summary(mine.folder)
    assert [run.folder.name for run in load_runs(mine.folder, summary)] == mine.run_names
    assert capsys.readouterr().out == ""
    assert studies._is_current(mine)


def test_an_old_summary_of_new_runs_is_told(
    mine: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    train_again(mine.folder / mine.run_names[1])
    load_runs(mine.folder, load_summary(mine.folder))
    said = capsys.readouterr().out
    assert f"summary.csv does not fit its runs: test_ssim of {mine.run_names[1]} is" in said
    assert "0.5 in the run. Run the study again." in said
    assert not studies._is_current(mine)


CHANGES = {"test_psnr": 99, "perplexity": 500, "batch_size": 17, "n_train": 1, "dataset": "cifar10"}


@pytest.mark.parametrize("column", CHANGES)
def test_any_value_of_a_summary_that_is_not_its_runs_is_told(
    mine: Study, capsys: pytest.CaptureFixture[str], column: str
) -> None:
    summary = load_summary(mine.folder)
    summary.loc[1, column] = CHANGES[column]
    load_runs(mine.folder, summary)
    said = capsys.readouterr().out
    assert f"{column} of {mine.run_names[1]} is {CHANGES[column]}" in said


def test_runs_that_are_not_finished_are_named_when_they_are_left_out(
    mine: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine.folder / "summary.csv").unlink()
    (mine.folder / mine.run_names[0] / "history.csv").unlink()
    assert list(load_summary(mine.folder)["run"]) == mine.run_names[1:]
    assert f"not finished, left out: {mine.run_names[0]}\n" in capsys.readouterr().out


MIXES: dict[str, tuple[dict[str, object], dict[str, object], str]] = {
    "epochs": ({"epochs": 2}, {}, "have epochs 3 and 2"),
    "data": ({"dataset": "cifar10"}, {}, "have dataset photos and cifar10"),
    "limit": ({"limit": 50}, {}, "have limit None and 50"),
    "learning rate": ({"learning_rate": 0.1}, {}, "have learning_rate 0.0005 and 0.1"),
    "images": ({}, {"data_md5": "0"}, "have data_md5"),
}


@pytest.mark.parametrize("name", MIXES)
def test_runs_of_different_studies_are_never_in_one_summary(mine: Study, name: str) -> None:
    config, environment, said = MIXES[name]
    change_json(mine.folder / mine.run_names[1] / "config.json", **config)
    reseal(mine.folder / mine.run_names[1], **environment)
    (mine.folder / "summary.csv").unlink()
    message = refusal(lambda: load_summary(mine.folder))
    assert f"{mine.folder} mixes runs that cannot be compared" in message
    assert said in message
    assert all(run_name in message for run_name in mine.run_names)


def test_a_preset_s_summary_has_only_the_runs_that_it_asks_for(mine: Study) -> None:
    folder = mine.folder / mine.run_names[0]
    change_json(folder / "config.json", beta=0.5)
    reseal(folder)
    assert f"{folder} is not the run that the preset asks for" in refusal(
        lambda: write_summary(mine)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: "", "summary.csv cannot be read: No columns"),
        (
            lambda text: text.splitlines()[0] + "\n",
            "is damaged: a run stands in it twice, or not all figures",
        ),
        (
            lambda text: text.replace("test_ssim", "ssim"),
            "summary.csv is damaged: test_ssim missing",
        ),
        (lambda text: text.replace("bits", "bit"), "summary.csv is damaged: bits missing"),
        (lambda text: text + text.splitlines()[-1] + "\n", "a run stands in it twice"),
        (
            lambda text: text[: text.rindex("photos") - 60],
            "is damaged: a run stands in it twice, or not all figures",
        ),
    ],
    ids=["empty", "header only", "other figure", "other column", "twice", "cut"],
)
def test_damaged_summary_is_refused(mine: Study, change: Callable[[str], str], said: str) -> None:
    path = mine.folder / "summary.csv"
    path.write_text(change(path.read_text()))
    message = refusal(lambda: load_runs(mine.folder, load_summary(mine.folder)))
    assert said in message
    assert str(path) in message


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_run_without_a_figure_is_in_no_summary(
    small_runs: dict[str, Run], tmp_path: Path, value: float | None
) -> None:
    run = Run(tmp_path, small_runs["vae"].config)
    shutil.copytree(small_runs["vae"].folder, tmp_path, dirs_exist_ok=True)
    said = json.loads((tmp_path / "evaluation.json").read_text())
    said = {**said, "test_ssim": value} if value is not None else {"n_test": 40}
    (tmp_path / "evaluation.json").write_text(json.dumps(said))
    reseal(tmp_path)
    message = refusal(lambda: summarise([run]))
    assert message.startswith(f"{tmp_path} is damaged: test_")
    assert message.endswith(" is missing or not finite")


def test_a_shipped_run_is_copied_whole_or_not_at_all(
    mine: Study, small_runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted before its last file, it is no finished run; the next time it is."""
    monkeypatch.setattr(studies, "SHIPPED", mine.folder)
    other = Study("other", [small_runs["vqvae"].config])
    own, write = other.folder / other.run_names[0], studies.write_atomically

    def interrupted(path: Path, content: bytes) -> None:
        if path.name == "environment.json":
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(studies, "write_atomically", interrupted)
        with pytest.raises(KeyboardInterrupt):
            studies._take_shipped(other)
    assert not studies.is_finished(own)
    studies._take_shipped(other)
    for path in (mine.folder / own.name).glob("[a-z]*"):
        assert (own / path.name).read_bytes() == path.read_bytes()


def test_a_run_that_is_being_trained_is_not_removed(mine: Study) -> None:
    folder = mine.folder / mine.run_names[0]
    with sole_writer(folder):
        assert "is being written by another process" in refusal(lambda: studies._remove_run(folder))
    assert studies.is_finished(folder)
    studies._remove_run(folder)
    assert not folder.exists()


def test_two_studies_at_once_share_no_file(mine: Study, small_runs: dict[str, Run]) -> None:
    """Not even where they ask for the same runs; each holds its own folder."""
    other = Study("other", mine.configs)
    places = [{s.folder, s.figures, s.report, s.folder / s.run_names[0]} for s in (mine, other)]
    assert not places[0] & places[1]
    with sole_writer(mine.folder), sole_writer(other.folder):
        write_summary(mine)
        studies._prepare(other, other.run_names)
    assert load_summary(mine.folder)["run"].tolist() == mine.run_names


def test_a_figure_that_cannot_be_stored_leaves_the_one_before(
    summary: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_figure(metric_by_batch_size(summary), tmp_path, "figure")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    summary["test_ssim"] /= 2
    message = refusal(lambda: save_figure(metric_by_batch_size(summary), tmp_path, "figure"))
    assert message == f"{tmp_path / 'figure.png'} cannot be written: No space left on device"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("content", ["[]", "{}", "3", '{"pid": 1', '{"pid": "1", "host": 3}'])
def test_damaged_progress_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "progress.json").write_text(content)
    assert status.runs_under_way(tmp_path) == {}


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_time_at_all_for_a_cell_is_refused(tmp_path: Path, seconds: int) -> None:
    source = studies.NOTEBOOKS["vae"]
    message = refusal(lambda: run_notebook(source, tmp_path / "out.ipynb", {}, seconds))
    assert [fact for fact in ("timeout", f"got {seconds}") if fact not in message] == []


def test_a_failed_notebook_is_not_lost_when_it_is_run_again(tmp_path: Path) -> None:
    failed = tmp_path / "n.failed.ipynb"
    failed.write_text("")
    message = refusal(lambda: run_notebook(failed, tmp_path / "n.ipynb", {}))
    assert f"overwrite the notebook {failed}" in message


def test_a_name_too_long_for_the_system_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "vae", "--dataset", "photos", "--results", str(tmp_path / ("x" * 300))])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("vqlib: ")
    assert "File name too long" in said
    assert said.count("\n") == 1
