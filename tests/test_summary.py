"""The summary of a study: what it says, and what it refuses."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import refusal
from faults import reseal

from vqlib import Images, Run, TrainConfig, fit, load_run
from vqlib.config import varied
from vqlib.evaluation import METRICS, Metric
from vqlib.study import (
    SUMMARY_COLUMNS,
    Study,
    load_runs,
    load_summary,
    summarise,
    summary,
    write_summary,
)
from vqlib.study.summary import is_current

Output = pytest.CaptureFixture[str]


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_evaluation(run: Path, **values: object) -> None:
    """Give a run other figures, with a checksum that fits; a value of None is left out."""
    path = run / "evaluation.json"
    figures = json.loads(path.read_text()) | values
    kept = {name: value for name, value in figures.items() if value is not None}
    path.write_text(json.dumps(kept))
    reseal(run)


@pytest.fixture
def newer_metric(monkeypatch: pytest.MonkeyPatch) -> str:
    """A metric that the version of vqlib that made the runs did not know."""
    monkeypatch.setitem(METRICS, "test_mae", Metric("MAE", 4, lambda made: 0.0))
    return "test_mae"


# --- what it says --------------------------------------------------------------------------


def test_the_summary_says_what_the_runs_say(small_runs: dict[str, Run]) -> None:
    summary = summarise(list(small_runs.values())).set_index("model")
    for model, run in small_runs.items():
        row, last = summary.loc[model], run.history.iloc[-1]
        assert row["test_ssim"] == run.evaluation["test_ssim"]
        assert row["train_loss"] == last["loss"]
        assert row["steps"] == last["steps"]
        assert row["seconds"] == pytest.approx(run.history["seconds"].sum(), abs=0.1)
        assert row["bits"] == run.bits
    assert pd.isna(summary.loc["vae", "perplexity"])


def test_a_loss_without_a_reconstruction_term_leaves_its_place_empty(
    small_runs: dict[str, Run],
    small_config: Callable[..., TrainConfig],
    few_photos: Images,
    tmp_path: Path,
    autoencoder: str,
) -> None:
    other = small_runs["vqvae"]
    study = Study("mine", [small_config(autoencoder), other.config], root=tmp_path)
    run = fit(study.configs[0], few_photos, study.folder)
    shutil.copytree(other.folder, study.folder / other.folder.name)
    write_summary(study)
    summary = load_summary(study.folder).set_index("model")
    assert summary.loc[autoencoder, "train_loss"] == run.history["loss"].iloc[-1]
    losses = summary["train_reconstruction_loss"]
    assert pd.isna(losses[autoencoder])
    assert losses["vqvae"] == other.history["reconstruction"].iloc[-1]


def test_the_summary_begins_with_the_fixed_columns(small_runs: dict[str, Run]) -> None:
    fixed = (
        "model batch_size seed epochs steps precision device train_loss "
        "train_reconstruction_loss test_mse test_nmse test_psnr test_ssim perplexity seconds"
    )
    assert list(SUMMARY_COLUMNS)[:15] == fixed.split()
    assert list(summarise([small_runs["vae"]]).columns) == list(SUMMARY_COLUMNS)


def test_a_newer_metric_has_the_last_column(
    small_runs: dict[str, Run], tmp_path: Path, newer_metric: str
) -> None:
    for run in small_runs.values():
        shutil.copytree(run.folder, tmp_path / run.folder.name)
    new = tmp_path / small_runs["vqvae"].folder.name
    change_evaluation(new, **{newer_metric: 0.25})
    summary = load_summary(tmp_path).set_index("model")
    assert summary.columns[-1] == newer_metric
    assert summary.loc["vqvae", newer_metric] == 0.25
    assert pd.isna(summary.loc["vae", newer_metric])


@pytest.fixture
def swept(
    small_runs: dict[str, Run],
    small_config: Callable[..., TrainConfig],
    few_photos: Images,
    tmp_path: Path,
) -> Study:
    """Return a finished study whose runs differ in epochs, codes and beta."""
    configs = [small_runs[model].config for model in ("vae", "vqvae", "svae")]
    configs.append(small_config("vqvae", epochs=1, num_embeddings=8))
    configs.append(small_config("vae", epochs=1, beta=0.5))
    study = Study("swept", configs, root=tmp_path)
    for config in configs[:3]:
        shutil.copytree(small_runs[config.model].folder, study.folder / config.run_name)
    for config in configs[3:]:
        fit(config, few_photos, study.folder)
    write_summary(study)
    return study


def test_what_varies_beyond_the_fixed_columns_has_a_column(swept: Study, capsys: Output) -> None:
    summary = load_summary(swept.folder)
    assert list(summary.columns) == [*SUMMARY_COLUMNS, "beta", "num_embeddings"]
    assert summary["beta"].fillna(0).tolist() == [1.0, 0, 1.0, 0, 0.5]
    assert summary["num_embeddings"].fillna(0).tolist() == [0, 32, 0, 8, 0]
    capsys.readouterr()
    assert [run.folder for run in load_runs(swept.folder, summary)] == swept.run_folders
    assert capsys.readouterr().out == ""
    assert is_current(swept)


def test_a_setting_that_is_a_list_is_the_same_text_in_the_file_and_for_the_runs(
    swept: Study, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    whole: Any = Run.settings

    def settings(run: Run) -> dict[str, Any]:
        values = whole.fget(run)
        codes = values.get("num_embeddings")
        return values | ({"num_embeddings": (codes, 5)} if codes else {})

    monkeypatch.setattr(Run, "settings", property(settings))
    write_summary(swept)
    summary = load_summary(swept.folder)
    assert summary["num_embeddings"].dropna().tolist() == ["32x5", "8x5"]
    capsys.readouterr()
    load_runs(swept.folder, summary)
    assert capsys.readouterr().out == ""


def test_whole_numbers_stay_whole_if_a_model_does_not_have_the_setting(swept: Study) -> None:
    assert swept.summary.read_text().splitlines()[2].endswith(",,32")


def test_runs_in_a_folder_of_any_settings_are_compared(swept: Study) -> None:
    swept.summary.unlink()
    summary = load_summary(swept.folder)
    assert set(summary["run"]) == set(swept.run_names)
    assert varied(summary) == ["epochs", "beta", "num_embeddings"]


@pytest.mark.faults
def test_a_summary_from_before_a_setting_varied_is_told(swept: Study, capsys: Output) -> None:
    summary = load_summary(swept.folder).drop(columns="beta")
    capsys.readouterr()
    load_runs(swept.folder, summary)
    assert "beta" in capsys.readouterr().out


@pytest.mark.parametrize("metric", ["test_ssim", "test_psnr"])
def test_a_metric_that_a_run_lacks_is_nan(mine: Study, metric: str) -> None:
    change_evaluation(mine.run_folders[1], **{metric: None})
    write_summary(mine)
    summary = load_summary(mine.folder)
    assert list(summary[metric].isna()) == [False, True]
    assert [run.folder for run in load_runs(mine.folder, summary)] == mine.run_folders


@pytest.mark.faults
def test_a_summary_that_cannot_be_written_says_why_in_a_line(
    mine: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mine.run_folders[0] / "evaluation.json").write_text("{")
    monkeypatch.setattr(summary, "load_study", lambda *_: mine)
    with pytest.raises(SystemExit, match=r"^vqlib: .*evaluation\.json.*$"):
        summary.main("mine", "photos", "here")


def test_a_summary_and_runs_that_agree_are_taken(mine: Study, capsys: Output) -> None:
    summary = load_summary(mine.folder)
    assert [run.folder for run in load_runs(mine.folder, summary)] == mine.run_folders
    assert capsys.readouterr().out == ""
    assert is_current(mine)


@pytest.mark.parametrize("runs", [slice(0, 1), slice(1, 2)], ids=["first", "second"])
def test_a_summary_of_one_model_agrees_with_its_runs(
    mine: Study, capsys: Output, runs: slice
) -> None:
    alone = Study(mine.name, mine.configs[runs], root=mine.root)
    write_summary(alone)
    load_runs(alone.folder, load_summary(alone.folder))
    assert capsys.readouterr().out == ""
    assert is_current(alone)


def test_a_summary_from_before_a_metric_was_added_stays_good(
    mine: Study, capsys: Output, newer_metric: str
) -> None:
    before = mine.summary.read_bytes()
    summary = load_summary(mine.folder)
    assert summary[newer_metric].isna().all()
    load_runs(mine.folder, summary)
    assert capsys.readouterr().out == ""
    assert is_current(mine)
    write_summary(mine)
    assert mine.summary.read_bytes() == before


def test_a_folder_without_a_summary_is_summarised(mine: Study) -> None:
    stored = load_summary(mine.folder)
    mine.summary.unlink()
    pd.testing.assert_frame_equal(load_summary(mine.folder), stored)


@pytest.mark.faults
def test_unfinished_runs_are_named_if_they_are_left_out(mine: Study, capsys: Output) -> None:
    mine.summary.unlink()
    unfinished, finished = mine.run_folders
    (unfinished / "history.csv").unlink()
    assert list(load_summary(mine.folder)["run"]) == [finished.name]
    printed = capsys.readouterr().out
    assert unfinished.name in printed
    assert finished.name not in printed


@pytest.mark.faults
def test_a_summary_older_than_its_runs_is_told(mine: Study, capsys: Output) -> None:
    change_evaluation(mine.run_folders[1], test_ssim=0.5)
    load_runs(mine.folder, load_summary(mine.folder))
    printed = capsys.readouterr().out
    assert all(fact in printed for fact in ("summary.csv", "test_ssim", mine.run_names[1], "0.5"))
    assert mine.run_names[0] not in printed
    assert not is_current(mine)


CHANGES = {"test_psnr": 99, "perplexity": 500, "batch_size": 17, "n_train": 1, "dataset": "cifar10"}


@pytest.mark.faults
@pytest.mark.parametrize("column", CHANGES)
def test_any_value_of_a_summary_that_is_not_its_runs_is_told(
    mine: Study, capsys: Output, column: str
) -> None:
    summary = load_summary(mine.folder)
    summary.loc[1, column] = CHANGES[column]
    load_runs(mine.folder, summary)
    printed = capsys.readouterr().out
    assert all(fact in printed for fact in (column, mine.run_names[1], str(CHANGES[column])))


# --- what it refuses -----------------------------------------------------------------------


@pytest.mark.faults
def test_a_folder_without_runs_says_what_to_do(tmp_path: Path) -> None:
    message = refusal(lambda: load_summary(tmp_path))
    assert str(tmp_path) in message
    assert "make report" in message


MIXES: dict[str, tuple[dict[str, object], dict[str, object], tuple[str, ...]]] = {
    "data": ({"dataset": "cifar10"}, {}, ("dataset", "photos", "cifar10")),
    "limit": ({"limit": 50}, {}, ("limit", "None", "50")),
    "images": ({}, {"data_md5": "0"}, ("data_md5",)),
}


@pytest.mark.faults
@pytest.mark.parametrize("name", MIXES)
def test_runs_of_other_images_are_never_in_one_summary(mine: Study, name: str) -> None:
    config, environment, facts = MIXES[name]
    change_json(mine.run_folders[1] / "config.json", **config)
    reseal(mine.run_folders[1], **environment)
    mine.summary.unlink()
    message = refusal(lambda: load_summary(mine.folder))
    assert all(fact in message for fact in (*facts, str(mine.folder), *mine.run_names)), message


@pytest.mark.faults
def test_a_preset_s_summary_has_only_the_runs_that_it_asks_for(mine: Study) -> None:
    folder = mine.run_folders[0]
    change_json(folder / "config.json", beta=0.5)
    reseal(folder)
    assert str(folder) in refusal(lambda: write_summary(mine))


@pytest.mark.faults
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["test_ssim", "perplexity", "n_test"])
def test_a_run_with_a_figure_that_is_not_finite_is_in_no_summary(
    mine: Study, name: str, value: float
) -> None:
    folder = mine.run_folders[1]
    change_evaluation(folder, **{name: value})
    message = refusal(lambda: summarise([load_run(folder)]))
    assert str(folder) in message
    assert name in message


@pytest.mark.faults
def test_a_run_without_the_number_of_its_images_is_in_no_summary(mine: Study) -> None:
    folder = mine.run_folders[0]
    reseal(folder, n_train=None)
    message = refusal(lambda: summarise([load_run(folder)]))
    assert str(folder) in message
    assert "n_train" in message


def without(column: str) -> Callable[[str], str]:
    return lambda text: text.replace(column, f"{column}_", 1)


DAMAGES: dict[str, tuple[Callable[[str], str], str]] = {
    "empty": (lambda text: "", "summary.csv"),
    "header only": (lambda text: text.splitlines()[0] + "\n", "a run"),
    "no metric": (without("test_ssim"), "test_ssim"),
    "no bits": (without("bits"), "bits"),
    "twice": (lambda text: text + text.splitlines()[-1] + "\n", "twice"),
    "cut": (lambda text: text[: text.rindex("photos") - 60], "numbers"),
    "words": (lambda text: text.replace(",32,", ",many,", 1), "many"),
    "infinite": (lambda text: text.replace(",32,", ",inf,", 1), "numbers"),
}


@pytest.mark.faults
@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_summary_is_refused(mine: Study, name: str) -> None:
    change, fact = DAMAGES[name]
    mine.summary.write_text(change(mine.summary.read_text()))
    message = refusal(lambda: load_runs(mine.folder, load_summary(mine.folder)))
    assert str(mine.summary) in message
    assert fact in message
