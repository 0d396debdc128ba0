"""The smoke study from end to end, in a copy of the project: papermill, Snakemake, figures, PDF."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import copy_project
from pypdf import PdfReader


def run_vqlib(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Runs the copy's own command line, from another folder."""
    environment = os.environ | {"PYTHONPATH": str(project)}
    return subprocess.run(
        [sys.executable, "-m", "vqlib", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=project.parent,
        timeout=400,
        check=False,
    )


def break_notebook(path: Path, source: str) -> None:
    """Adds a cell to the end of a notebook."""
    notebook = nbformat.read(path, 4)
    notebook.cells.append(nbformat.v4.new_code_cell(source))
    nbformat.write(notebook, path)


@dataclass
class Study:
    """The smoke study in a copy of the project: a notebook failed, was mended, and it went on."""

    project: Path
    failed: subprocess.CompletedProcess
    failed_cell: int
    left: set[str]  # after the failure: the executed notebooks of runs, and the report
    mended: subprocess.CompletedProcess

    @property
    def folder(self) -> Path:
        return self.project / "results" / "smoke"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    project = copy_project(tmp_path_factory.mktemp("smoke") / "a project")
    folder = project / "results" / "smoke"
    notebook = project / "notebooks" / "02_vqvae.ipynb"
    whole = notebook.read_text()
    break_notebook(notebook, 'if batch_size == 64: raise RuntimeError("out of paint")')
    cell = len(nbformat.read(notebook, 4).cells)
    failed = run_vqlib(project, "study", "smoke", "--keep-going")
    left = {path.name for path in (folder / "notebooks").glob("*-limit256.ipynb")}
    left |= {path.name for path in folder.glob("report.pdf")}
    notebook.write_text(whole)
    return Study(project, failed, cell, left, run_vqlib(project, "study", "smoke"))


def test_a_failed_notebook_fails_the_study_by_name_and_the_other_runs_are_trained(study):
    assert study.failed.returncode == 1
    assert (
        f"02_vqvae.ipynb for vqvae-photos-b64-e2-s0-limit256: "
        f"cell {study.failed_cell} failed: RuntimeError: out of paint"
    ) in study.failed.stderr
    assert "Traceback" not in study.failed.stderr
    assert study.left == {
        "vae-photos-b32-e2-s0-limit256.ipynb",
        "vae-photos-b64-e2-s0-limit256.ipynb",
        "vqvae-photos-b32-e2-s0-limit256.ipynb",
    }


def test_the_mended_study_goes_on_and_makes_figures_and_a_report_of_its_numbers(study):
    assert study.mended.returncode == 0, study.mended.stderr
    assert str(study.folder / "report.pdf") in study.mended.stdout

    summary = pd.read_csv(study.folder / "summary.csv")
    assert sorted(zip(summary.model, summary.batch_size, strict=True)) == [
        *(("vae", 32), ("vae", 64), ("vqvae", 32), ("vqvae", 64)),
    ]
    for row in summary.itertuples():
        stored = json.loads((study.folder / row.run / "evaluation.json").read_text())
        assert row.test_ssim == stored["test_ssim"]
        assert not list((study.folder / row.run).glob("resume*"))

    figures = {path.name for path in (study.folder / "figures").iterdir()}
    names = ("figure1_reconstructions", "figure2_ssim", "figure3_loss")
    assert figures >= {f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")}

    text = " ".join(
        " ".join(page.extract_text().split())
        for page in PdfReader(study.folder / "report.pdf").pages
    )
    for row in summary.itertuples():
        assert f"{row.test_ssim:.3f}" in text
    assert "photographs that scikit-image carries" in text
    assert "??" not in text


def test_a_finished_study_is_used_as_it_is_and_trained_anew_only_when_asked(study):
    histories = list(study.folder.glob("*/history.csv"))
    written = [path.stat().st_mtime_ns for path in histories]
    again = run_vqlib(study.project, "study", "smoke")
    assert again.returncode == 0
    assert "4 of them finished already" in again.stdout
    assert [path.stat().st_mtime_ns for path in histories] == written

    anew = run_vqlib(study.project, "study", "smoke", "--retrain")
    assert anew.returncode == 0, anew.stderr
    assert len(histories) == 4
    for path, before in zip(histories, written, strict=True):
        assert path.stat().st_mtime_ns > before
    assert (study.folder / "report.pdf").exists()


def test_an_interrupted_study_leaves_no_process_and_goes_on(project):
    preset = project / "presets" / "smoke.yaml"
    preset.write_text(preset.read_text().replace("epochs: 2", "epochs: 200"))
    study = subprocess.Popen(
        [sys.executable, "-m", "vqlib", "study", "smoke"],
        env=os.environ | {"PYTHONPATH": str(project)},
        cwd=project.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = project / "results" / "smoke"
    deadline = time.monotonic() + 200
    while not list(folder.glob("*/resume.pt")):
        assert study.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    trained = [json.loads(p.read_text())["pid"] for p in folder.glob("*/progress.json")]
    study.send_signal(signal.SIGINT)
    _, said = study.communicate(timeout=60)
    assert study.returncode == 130
    assert "run the same command again" in said
    time.sleep(3)  # a kernel looks for its parent every second
    assert not [pid for pid in trained if Path(f"/proc/{pid}").exists()]
    assert not list(folder.glob(".snakemake/locks/*"))
