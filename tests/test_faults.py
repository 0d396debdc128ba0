"""Bad inputs and accidents: each is told in one line, and no number comes of it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from faults import reseal

from vqlib import (
    Run,
    TrainConfig,
    UserError,
)
from vqlib.cli import main
from vqlib.figures import metric_by_batch_size, save_figure
from vqlib.study import Study, load_runs, load_summary, summarise, write_summary
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
