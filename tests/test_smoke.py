"""The smoke study from end to end, in a copy of the project: papermill, Snakemake, figures, PDF."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
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


def test_smoke_study_makes_runs_figures_and_a_report_of_those_numbers(project):
    result = run_vqlib(project, "study", "smoke")
    assert result.returncode == 0, result.stderr
    folder = project / "results" / "smoke"
    assert str(folder / "report.pdf") in result.stdout

    summary = pd.read_csv(folder / "summary.csv")
    assert sorted(zip(summary.model, summary.batch_size, strict=True)) == [
        *(("vae", 32), ("vae", 64), ("vqvae", 32), ("vqvae", 64)),
    ]
    for row in summary.itertuples():
        stored = json.loads((folder / row.run / "evaluation.json").read_text())
        assert row.test_ssim == stored["test_ssim"]
        assert not list((folder / row.run).glob("resume*"))

    figures = {path.name for path in (folder / "figures").iterdir()}
    names = ("figure1_reconstructions", "figure2_ssim", "figure3_loss")
    assert figures >= {f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")}

    text = " ".join(
        " ".join(page.extract_text().split()) for page in PdfReader(folder / "report.pdf").pages
    )
    for row in summary.itertuples():
        assert f"{row.test_ssim:.3f}" in text
    assert "photographs that scikit-image carries" in text
    assert "??" not in text

    again = run_vqlib(project, "study", "smoke")
    assert "4 of them finished already" in again.stdout
    assert again.returncode == 0

    before = {name: (folder / name / "history.csv").stat().st_mtime_ns for name in summary.run}
    anew = run_vqlib(project, "study", "smoke", "--retrain")
    assert anew.returncode == 0, anew.stderr
    for name, written in before.items():
        assert (folder / name / "history.csv").stat().st_mtime_ns > written
    assert (folder / "report.pdf").exists()


def test_a_failed_notebook_fails_the_study_by_name_and_the_rest_goes_on(project):
    broken = project / "notebooks" / "02_vqvae.ipynb"
    whole = broken.read_text()
    break_notebook(broken, 'if batch_size == 64: raise RuntimeError("out of paint")')
    result = run_vqlib(project, "study", "smoke", "--keep-going")
    assert result.returncode == 1
    cell = len(nbformat.read(broken, 4).cells)
    assert (
        f"02_vqvae.ipynb for vqvae-photos-b64-e2-s0-limit256: "
        f"cell {cell} failed: RuntimeError: out of paint"
    ) in result.stderr
    assert "Traceback" not in result.stderr
    folder = project / "results" / "smoke"
    done = {path.stem for path in (folder / "notebooks").glob("*s0-limit256.ipynb")}
    assert done == {
        "vae-photos-b32-e2-s0-limit256",
        "vae-photos-b64-e2-s0-limit256",
        "vqvae-photos-b32-e2-s0-limit256",
    }
    assert not (folder / "report.pdf").exists()

    broken.write_text(whole)
    mended = run_vqlib(project, "study", "smoke")
    assert mended.returncode == 0, mended.stderr
    assert (folder / "report.pdf").exists()


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
    assert "goes on from the last epoch" in said
    time.sleep(3)  # a kernel looks for its parent every second
    assert not [pid for pid in trained if Path(f"/proc/{pid}").exists()]
    assert not list(folder.glob(".snakemake/locks/*"))
