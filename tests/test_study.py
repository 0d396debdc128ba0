"""The command that runs a study: what it does before and after Snakemake, and how it is stopped."""

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from albums import fill, write_picture
from conftest import SMALL, STUDIED, MakeConfig, refusal

from vqlib import Run, fit, load_images, load_run
from vqlib.paths import ROOT
from vqlib.study import Study, load_study, load_summary, run, run_study, status, write_summary
from vqlib.study.schedule import expected_seconds
from vqlib.system.files import sole_writer

PRESET = f"""\
dataset: photos
models: [{", ".join(STUDIED)}]
batch_sizes: [16]
seeds: [0]
epochs: 3
"""

Preset = Callable[..., str]


@pytest.fixture
def preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Preset:
    """Write a preset in a project of its own, and return its name. It must not get to Snakemake."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("Snakemake was started")

    monkeypatch.setattr(run.psutil, "Popen", refuse)
    (tmp_path / "presets").mkdir()
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")

    def write(dataset: str = "photos") -> str:
        text = PRESET.replace("photos", dataset)
        (tmp_path / "presets" / "mine.yaml").write_text(text)
        return "mine"

    return write


# --- before Snakemake ----------------------------------------------------------------------


@pytest.mark.faults
def test_a_study_that_another_process_runs_is_left_alone(preset: Preset, tmp_path: Path) -> None:
    folder = tmp_path / "results" / preset()
    log = folder / "logs" / "snakemake.log"
    log.parent.mkdir(parents=True)
    log.write_text("of the other")
    with sole_writer(folder):
        message = refusal(lambda: run_study("mine", root=tmp_path))
    assert str(folder) in message
    assert f"pid {os.getpid()}" in message
    assert log.read_text() == "of the other"


@pytest.mark.faults
@pytest.mark.parametrize("retrain", [False, True])
def test_a_run_that_another_process_trains_is_told_before_anything_runs(
    preset: Preset, tmp_path: Path, retrain: bool
) -> None:
    held = tmp_path / "results" / preset() / "vqvae-photos-b16-e3-s0"
    with sole_writer(held):
        message = refusal(lambda: run_study("mine", retrain=retrain, root=tmp_path))
    assert str(held) in message
    assert f"pid {os.getpid()}" in message


def test_the_full_study_trained_again_still_knows_how_long_its_runs_took(
    preset: Preset, small_runs: dict[str, Run], tmp_path: Path
) -> None:
    runs = [small_runs[model] for model in STUDIED]
    values = {"dataset": "photos", "epochs": 3, "batch_size": 32, "precision": "float32"}
    (tmp_path / "presets" / "paper.yaml").write_text(
        json.dumps(values | {model: SMALL[model] for model in STUDIED})
    )
    study = load_study("paper", root=tmp_path)
    for each in runs:
        ship(study, each.folder)
    known = expected_seconds(study.configs, study.shipped)
    with pytest.raises(AssertionError, match="Snakemake was started"):
        run_study("paper", retrain=True, root=tmp_path)
    request = json.loads((study.folder / "logs" / "study.json").read_text())
    assert request["expected_seconds"] == dict(zip(study.run_names, known, strict=True))
    assert known != expected_seconds(study.configs, study.shipped)  # the runs were moved aside


@pytest.mark.faults
def test_data_that_cannot_be_used_are_told_before_anything_runs(
    preset: Preset, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("one.png", "two.png"):
        (pictures / name).write_bytes(b"no picture")
    name = preset(str(pictures))
    assert "one.png" in refusal(lambda: run_study(name, root=tmp_path))


def ship(study: Study, run_folder: Path) -> Path:
    """Make a run one that the study's project ships, and return its folder."""
    return Path(shutil.copytree(run_folder, study.shipped / run_folder.name))


def test_a_study_takes_the_shipped_runs_that_it_asks_for(
    small_runs: dict[str, Run], tmp_path: Path
) -> None:
    config = small_runs["vqvae"].config
    study = Study("mine", [config, dataclasses.replace(config, seed=1)], root=tmp_path)
    ship(study, small_runs["vqvae"].folder)
    run._take_shipped(study)
    shipped, other = study.run_folders
    assert load_run(shipped).config == config
    assert not other.exists()


def test_a_shipped_run_of_another_config_is_not_taken(
    small_runs: dict[str, Run], tmp_path: Path
) -> None:
    config = dataclasses.replace(small_runs["vae"].config, beta=0.5)
    study = Study("mine", [config], root=tmp_path)
    shutil.copytree(small_runs["vae"].folder, study.shipped / config.run_name)
    run._take_shipped(study)
    assert not study.run_folders[0].exists()


def test_a_run_shipped_without_weights_is_taken_and_needs_no_notebook(
    small_runs: dict[str, Run], tmp_path: Path
) -> None:
    runs = [small_runs[model] for model in STUDIED]
    study = Study("mine", [each.config for each in runs], root=tmp_path)
    without, whole = (ship(study, each.folder) for each in runs)
    (without / "weights.safetensors").unlink()
    assert len(study.products) == 2  # nothing is taken yet: both are to be trained
    run._take_shipped(study)
    assert study.products == [f"notebooks/{whole.name}.ipynb"]
    write_summary(study)
    assert list(load_summary(study.folder)["run"]) == study.run_names
    message = refusal(lambda: load_run(study.run_folders[0]).model)
    assert "weights.safetensors" in message
    assert "vqlib train" in message


@pytest.mark.faults
def test_a_shipped_run_is_copied_whole_or_not_at_all(
    small_runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If copying is interrupted before the last file, the run is not a finished one."""
    study = Study("mine", [small_runs["vqvae"].config], root=tmp_path)
    shipped = ship(study, small_runs["vqvae"].folder)
    own, write = study.run_folders[0], run.write_atomically

    def interrupted(path: Path, content: bytes) -> None:
        if path.name == "environment.json":
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(run, "write_atomically", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run._take_shipped(study)
    assert not run.is_finished(own)
    run._take_shipped(study)
    for path in shipped.glob("[a-z]*"):
        assert (own / path.name).read_bytes() == path.read_bytes()


@pytest.mark.faults
def test_a_run_that_is_being_trained_is_not_moved(mine: Study) -> None:
    folder = mine.run_folders[0]
    with sole_writer(folder):
        assert str(folder) in refusal(lambda: run._set_aside(mine))
    assert run.is_finished(folder)


@pytest.fixture
def made(mine: Study) -> list[Path]:
    """What the finished study has: summary, report, and the notebook of each run."""
    paths = [mine.summary, mine.report, *(mine.folder / product for product in mine.products)]
    for path in paths[1:]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    return paths


def test_what_is_trained_again_is_kept(mine: Study, made: list[Path]) -> None:
    there = [*mine.run_folders, *made]
    before = {path.name: load_run(path).evaluation for path in mine.run_folders}
    assert run._prepare(mine, retrain=True) == mine.run_names
    assert [path for path in there if path.exists()] == []
    (aside,) = mine.folder.glob("before-*")
    assert {path.name for path in aside.iterdir()} == {path.name for path in there}
    assert {name: load_run(aside / name).evaluation for name in before} == before
    assert not list(aside.glob("*/.*"))


@pytest.mark.faults
@pytest.mark.parametrize("trouble", ["data", "running", "folder"])
def test_nothing_is_moved_before_everything_is_checked(
    mine: Study, made: list[Path], monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    if trouble == "data":
        monkeypatch.setattr(run, "load_images_of", lambda *_: load_images("nowhere"))
    if trouble == "folder":
        monkeypatch.setattr(run.os, "access", lambda *_: False)
    last = mine.run_folders[-1]
    with sole_writer(last) if trouble == "running" else contextlib.nullcontext():
        refusal(lambda: run._prepare(mine, retrain=True))
    assert all(path.exists() for path in [*made, *mine.run_folders])
    assert not list(mine.folder.glob("before-*"))


@pytest.mark.faults
def test_a_finished_run_of_another_config_is_told_before_anything_runs(mine: Study) -> None:
    wanted = dataclasses.replace(mine.configs[0], latent_dim=8)
    study = dataclasses.replace(mine, configs=[wanted])
    mine.run_folders[0].rename(study.run_folders[0])
    message = refusal(lambda: run._prepare(study, retrain=False))
    assert "latent_dim 16 there, 8 here" in message
    assert str(study.run_folders[0]) in message


@pytest.mark.faults
def test_a_finished_run_of_other_pictures_is_told_before_anything_runs(
    small_config: MakeConfig, tmp_path: Path
) -> None:
    fill(tmp_path / "pics", 12)
    given = {"dataset": str(tmp_path / "pics"), "epochs": 1}
    configs = [small_config("vae", **given, seed=seed) for seed in (0, 1)]
    study = Study("mine", configs, root=tmp_path)
    fit(configs[0], results=study.folder)
    write_picture(tmp_path / "pics" / "005.png", seed=99)
    message = refusal(lambda: run._prepare(study, retrain=False))
    assert configs[0].run_name in message
    assert "other images" in message


def test_results_that_fit_their_runs_are_kept(mine: Study, made: list[Path]) -> None:
    run._remove_stale(mine, [])
    assert all(path.exists() for path in made)


def test_results_of_other_runs_are_made_again(mine: Study, made: list[Path]) -> None:
    mine.summary.write_text("of other runs")
    run._remove_stale(mine, [])
    assert [path.exists() for path in made] == [False, False, True, True]


def test_what_is_to_be_trained_takes_summary_and_report_with_it(
    mine: Study, made: list[Path]
) -> None:
    run._remove_stale(mine, mine.run_names[:1])
    assert [path.exists() for path in made] == [False, False, False, True]


# --- while Snakemake runs ------------------------------------------------------------------


@pytest.mark.parametrize("deaf", ["", "trap '' INT;", "trap '' INT TERM;"])
@pytest.mark.parametrize("child", ["sleep 100", "setsid sleep 100"])
def test_what_does_not_heed_is_stopped_with_its_children(
    monkeypatch: pytest.MonkeyPatch, deaf: str, child: str
) -> None:
    """A notebook's kernel has a session of its own, as the second kind of child has."""
    monkeypatch.setattr(run, "PATIENCE", 0.3)
    process = psutil.Popen(
        ["bash", "-c", f"{deaf} {child} & echo ready; wait; sleep 100"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    process.stdout.readline()
    family = [process, *process.children(recursive=True)]
    assert len(family) == 2
    run._stop(process)
    assert process.poll() is not None
    assert not any(run._is_alive(each) for each in family)


def record(folder: Path, **values: object) -> None:
    """Write what a run under way says of itself."""
    content = {
        **{"epoch": 3, "epochs": 40, "step": 1, "steps_per_epoch": 2, "losses": {"loss": 0.25}},
        **{"seconds_left": 60.0, "updated": time.time(), "pid": os.getpid()},
        **{"host": socket.gethostname(), **values},
    }
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text(json.dumps(content))


def dead_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_run_is_under_way_while_its_process_lives(tmp_path: Path) -> None:
    record(tmp_path / "alive")
    record(tmp_path / "dead", pid=dead_process())
    record(tmp_path / "elsewhere", host="elsewhere", pid=dead_process())
    record(tmp_path / "long ago", host="elsewhere", updated=time.time() - 3600)
    assert list(status.runs_under_way(tmp_path)) == ["alive", "elsewhere"]


def test_the_status_of_a_run_is_its_epoch_losses_and_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "results" / "mine" / "vae-photos-b16-e40-s0")
    status.print_status(tmp_path)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    facts = ("mine", "vae-photos-b16-e40-s0", "3/40", "loss 0.25", "60 s")
    assert all(fact in printed for fact in facts), printed


@pytest.mark.faults
@pytest.mark.parametrize("content", ["[]", "{}", "3", '{"pid": 1', '{"pid": "1", "host": 3}'])
def test_damaged_progress_is_passed_over(tmp_path: Path, content: str) -> None:
    record(tmp_path / "good")
    record(tmp_path / "damaged")
    (tmp_path / "damaged" / "progress.json").write_text(content)
    assert list(status.runs_under_way(tmp_path)) == ["good"]


@pytest.mark.faults
@pytest.mark.parametrize("pid", ["1", None, 1.5, 2**70, [1]])
def test_progress_with_an_impossible_pid_is_passed_over(tmp_path: Path, pid: object) -> None:
    record(tmp_path / "damaged", pid=pid)
    assert status.runs_under_way(tmp_path) == {}


# --- after Snakemake -----------------------------------------------------------------------


@pytest.fixture
def log(mine: Study) -> Callable[[str, str], Path]:
    """Write a log of the study, and return its path."""

    def write(name: str, text: str) -> Path:
        path = mine.folder / "logs" / f"{name}.log"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.mark.faults
def test_each_failure_is_told_with_the_name_of_its_run(
    mine: Study, log: Callable[[str, str], Path]
) -> None:
    first, second = mine.run_names
    log(first, f"some warning\nvqlib: 01_vae_baseline.ipynb for {first}: cell 3 failed: E: no\n")
    log(second, "vqlib: loss not finite\n")
    log("README", "vqlib: README.md: NameError: x\n")
    message = run._failures(mine, log("snakemake", "Building DAG\n\nSome error\n"))
    lines = [line.strip() for line in message.splitlines()]
    assert "README.md: NameError: x" in lines
    assert f"01_vae_baseline.ipynb for {first}: cell 3 failed: E: no" in lines
    assert f"{second}: loss not finite" in lines
    assert "same command" in lines[-1]
    assert "some warning" not in message
    assert "Some error" not in message


@pytest.mark.faults
def test_a_failure_of_snakemake_itself_is_told_with_the_end_of_its_log(
    mine: Study, log: Callable[[str, str], Path]
) -> None:
    path = log("snakemake", "Building DAG\n\nSome error\nin line 3\n")
    message = run._failures(mine, path)
    assert all(fact in message for fact in ("Some error", "in line 3", str(path)))
    assert "Building DAG" not in message
