"""Presets and summaries."""

import dataclasses
import os
import shutil
import subprocess
import time

import pandas as pd
import pytest

from vqlib import UserError, load_run
from vqlib.paths import ROOT
from vqlib.study import (
    SUMMARY_COLUMNS,
    Study,
    load_study,
    load_summary,
    summarise,
    write_summary,
)
from vqlib.study import run as study
from vqlib.system.files import sole_writer


@pytest.fixture
def preset(tmp_path):
    """Writes a preset named `mine` in a project of its own, `tmp_path`, and returns its name."""
    (tmp_path / "presets").mkdir()
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")

    def write(text):
        (tmp_path / "presets" / "mine.yaml").write_text(text)
        return "mine"

    return write


GOOD = "dataset: photos\nmodels: [vae, vqvae]\nbatch_sizes: [16, 64]\nseeds: [0, 1]\nepochs: 3\n"


def test_the_paper_preset_is_the_study_of_the_report():
    paper = load_study("paper", dataset="photos")  # the data need not be here
    runs = {(c.model, c.batch_size) for c in paper.configs}
    assert runs == {(m, b) for m in ("vae", "vqvae") for b in (16, 32, 64, 128, 256)}
    assert {(c.epochs, c.learning_rate, c.limit) for c in paper.configs} == {(40, 5e-4, None)}


def test_a_preset_is_every_model_at_every_batch_size_and_seed(preset, tmp_path):
    configs = load_study(preset(GOOD), root=tmp_path).configs
    assert len(configs) == len({c.run_name for c in configs}) == 8
    assert {c.epochs for c in configs} == {3}


def test_a_preset_may_have_single_runs_beyond_its_lists(preset, tmp_path):
    names = load_study(
        preset(GOOD + "also: [{model: vae, batch_size: 16, seed: 2}]\n"), root=tmp_path
    ).run_names
    assert len(names) == 9
    assert names[-1] == "vae-photos-b16-e3-s2"


@pytest.mark.faults
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "epoch: 3\n", "unknown parameter 'epoch'"),
        (GOOD + "results: elsewhere\n", "unknown parameter 'results'"),
        (GOOD.replace("epochs: 3", "epochs: 0"), "epochs must be above 0, got 0"),
        (GOOD.replace("[16, 64]", "[16, -1]"), "batch_size must be above 0, got -1"),
        (GOOD.replace("[16, 64]", "16"), "batch_sizes must be a list"),
        (GOOD.replace("vae, vqvae", "gan"), "unknown model 'gan'"),
        (GOOD.replace("seeds: [0, 1]", "seeds: []"), "seeds must be a list"),
        (GOOD + "learning_rate: fast\n", "learning_rate must be a number"),
        (GOOD + "batch_size: 3\n", "batch_size is given by the list batch_sizes"),
        (GOOD + "seed: 3\n", "seed is given by the list seeds"),
        (GOOD + "model: vae\n", "model is given by the list models"),
        (GOOD.replace("[16, 64]", "[16, 16]"), "vae-photos-b16-e3-s0 is asked for 2 times"),
        (GOOD.replace("[16, 64]", "[16, 16.0]"), "b16"),
        (GOOD.replace("[vae, vqvae]", "[vae]"), "models must be .vae, vqvae.: the report compares"),
        (GOOD + "also: 1\n", "also must be a list of runs"),
        (GOOD + "also: [{model: vae, seed: 2}]\n", "also must be a list of runs such as"),
        (GOOD + "also: [{model: vae, batch_size: 0, seed: 2}]\n", "batch_size must be above 0"),
        (GOOD + "also: [{model: vae, batch_size: 16, seed: 1}]\n", "is asked for 2 times"),
        ("models: [vae", "not valid YAML"),
        ("- vae", "must hold names and values"),
    ],
)
def test_a_bad_preset_is_refused_before_anything_runs(preset, tmp_path, text, message):
    with pytest.raises(UserError, match=message) as error:
        load_study(preset(text), root=tmp_path)
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_preset_that_is_no_text_is_refused(preset, tmp_path):
    preset("")
    (tmp_path / "presets" / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"mine.yaml is not valid YAML"):
        load_study("mine", root=tmp_path)


@pytest.mark.parametrize("name", ["../presets/mine", "folder", "mine.yaml", ""])
def test_a_preset_is_a_file_in_presets_by_its_name(preset, tmp_path, name):
    preset(GOOD)
    (tmp_path / "presets" / "folder.yaml").mkdir()
    with pytest.raises(UserError, match=r"unknown preset .*: choose one of mine$"):
        load_study(name, root=tmp_path)


@pytest.mark.faults
def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(UserError, match="unknown preset 'papr': choose one of paper, quick, smoke"):
        load_study("papr")


def test_a_parameter_of_one_model_goes_to_that_model_only(preset, tmp_path):
    configs = load_study(preset(GOOD + "num_embeddings: 64\nbeta: 0.5\n"), root=tmp_path).configs
    assert {c.num_embeddings for c in configs if c.model == "vqvae"} == {64}
    assert {c.beta for c in configs if c.model == "vae"} == {0.5}
    assert {c.beta for c in configs if c.model == "vqvae"} == {1.0}


def test_a_run_notebook_gets_exactly_its_run(preset, tmp_path):
    mine = load_study(preset(GOOD + "limit: 100\n"), root=tmp_path)
    arguments = mine.arguments("vqvae-photos-b64-e3-s1-limit100")
    assert arguments["batch_size"] == 64
    assert arguments["seed"] == 1
    assert arguments["limit"] == 100
    assert arguments["results"] == str(tmp_path / "results" / "mine")
    assert "beta" not in arguments


def test_summary_says_what_the_runs_say(small_runs):
    summary = summarise(list(small_runs.values())).set_index("model")
    for model, run in small_runs.items():
        row, last = summary.loc[model], run.history.iloc[-1]
        assert row["test_ssim"] == run.evaluation["test_ssim"]
        assert row["train_reconstruction_loss"] == last["reconstruction"]
        assert row["steps"] == last["steps"]
        assert row["seconds"] == pytest.approx(run.history["seconds"].sum(), abs=0.1)
    assert pd.isna(summary.loc["vae", "perplexity"])


def test_summary_begins_with_the_fixed_columns(small_runs):
    fixed = (
        "model batch_size seed epochs steps precision device train_loss "
        "train_reconstruction_loss test_mse test_nmse test_psnr test_ssim perplexity seconds"
    )
    assert list(SUMMARY_COLUMNS)[:15] == fixed.split()
    assert list(summarise([small_runs["vae"]]).columns) == list(SUMMARY_COLUMNS)


@pytest.mark.faults
def test_a_folder_without_runs_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="holds no finished runs: train some"):
        load_summary(tmp_path)


def test_the_full_study_owns_the_projects_figures_and_report():
    paper, quick = Study("paper", []), Study("quick", [])
    assert paper.report.parts[-2:] == ("report", "report.pdf")
    assert quick.report.parts[-3:] == ("results", "quick", "report.pdf")
    assert paper.figures != quick.figures


def test_a_study_takes_the_shipped_runs_that_it_asks_for(small_runs, tmp_path):
    config = small_runs["vqvae"].config
    other = dataclasses.replace(config, seed=1)
    mine = Study("mine", [config, other], root=tmp_path)
    shutil.copytree(small_runs["vqvae"].folder, mine.shipped / config.run_name)
    study._take_shipped(mine)
    assert load_run(mine.folder / config.run_name).config == config
    assert not (mine.folder / other.run_name).exists()


def test_a_run_shipped_without_weights_is_taken_and_needs_no_notebook(small_runs, tmp_path):
    mine = Study("mine", [run.config for run in small_runs.values()], root=tmp_path)
    for run in small_runs.values():
        shutil.copytree(run.folder, mine.shipped / run.folder.name)
    without, whole = mine.run_names
    (mine.shipped / without / "weights.safetensors").unlink()
    assert mine.notebooks == mine.run_names  # nothing is taken yet: both are to be trained
    study._take_shipped(mine)
    assert mine.notebooks == [whole]
    write_summary(mine)
    assert list(load_summary(mine.folder)["run"]) == mine.run_names
    with pytest.raises(UserError, match=r"weights\.safetensors is not there: `vqlib train`"):
        _ = load_run(mine.folder / without).model


def test_what_is_to_be_trained_takes_summary_and_report_with_it(small_runs, tmp_path):
    mine = Study("mine", [run.config for run in small_runs.values()], root=tmp_path)
    vae, vqvae = (mine.folder / "notebooks" / f"{name}.ipynb" for name in mine.run_names)
    made = [mine.folder / "summary.csv", mine.report, vae, vqvae]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    study._prepare(mine, [])
    assert all(path.exists() for path in made)
    study._prepare(mine, mine.run_names[:1])
    assert [path.exists() for path in made] == [False, False, False, True]


def no_snakemake(*_args, **_kwargs):
    raise AssertionError("something was run")


@pytest.mark.faults
def test_a_study_that_another_process_runs_is_left_alone(preset, tmp_path, monkeypatch):
    monkeypatch.setattr(study.subprocess, "Popen", no_snakemake)
    name, folder = preset(GOOD), tmp_path / "results" / "mine"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "snakemake.log").write_text("of the other")
    with sole_writer(folder), pytest.raises(UserError, match=r"mine is being written by .*pid"):
        study.run_study(name, root=tmp_path)
    assert (folder / "logs" / "snakemake.log").read_text() == "of the other"


def test_a_run_that_another_process_trains_is_told_before_anything_runs(
    preset, tmp_path, monkeypatch
):
    monkeypatch.setattr(study.subprocess, "Popen", no_snakemake)
    held = tmp_path / "results" / "mine" / "vqvae-photos-b64-e3-s1"
    with sole_writer(held), pytest.raises(UserError, match=rf"{held.name} is being written .*pid"):
        study.run_study(preset(GOOD), root=tmp_path)


def group_exists(number):
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("deaf", ["", "trap '' INT;", "trap '' INT TERM;"])
def test_what_does_not_heed_is_stopped_with_its_children(monkeypatch, deaf):
    monkeypatch.setattr(study, "PATIENCE", 0.3)
    process = subprocess.Popen(
        ["bash", "-c", f"{deaf} echo ready; sleep 100 & wait; sleep 100"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    process.stdout.readline()
    study._stop(process)
    assert process.poll() is not None
    deadline = time.monotonic() + 10  # the system may take a moment to clear the dead away
    while group_exists(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group_exists(process.pid)


@pytest.mark.faults
def test_data_that_cannot_be_used_are_told_before_anything_runs(preset, tmp_path, monkeypatch):
    monkeypatch.setattr(study.subprocess, "Popen", no_snakemake)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("one.png", "two.png"):
        (pictures / name).write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"one\.png"):
        study.run_study(preset(GOOD.replace("photos", str(pictures))), root=tmp_path)


def test_the_rate_is_the_length_of_the_codes_or_the_kl_term(small_runs):
    bits = summarise(list(small_runs.values())).set_index("model")["bits"]
    assert bits["vqvae"] == 64 * 5  # 32 codes
    assert bits["vae"] == pytest.approx(small_runs["vae"].history["kl"].iloc[-1] * 1.442695, 1e-6)
