"""The smoke study from end to end, in a copy of the project: papermill, Snakemake, figures, PDF."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from albums import fill
from conftest import SMALL, STUDIED, copy_project
from pypdf import PdfReader

from vqlib import TrainConfig, fit
from vqlib.evaluation import METRICS
from vqlib.figures import alt_text
from vqlib.runs import WEIGHTS
from vqlib.study import SUMMARY_COLUMNS, load_study
from vqlib.study import Study as PresetStudy
from vqlib.study.run import _write_request

RUNS = [f"{model}-photos-b{size}-e2-s0-limit256" for model in STUDIED for size in (32, 64)]
THIRD_MODEL = """

class Autoencoder(VAE):
    title = "AE"

    def __init__(self, latent_dim: int = 128, data_variance: float = 1.0):
        super().__init__(latent_dim, 0.0, data_variance)


MODELS["plain"] = Autoencoder
"""


def start(project: Path, module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a module of Python with the copy's own library, from another folder."""
    # Without a configuration, SLURM's commands look for one on the network. Snakemake's plugin
    # calls them each time that Snakemake starts.
    own = {"PYTHONPATH": str(project), "SLURM_CONF": os.devnull}
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | own,
        cwd=project.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass
class Outcome:
    """How a command ended, and what it printed."""

    code: int
    printed: str
    error: str


def run(project: Path, module: str, *arguments: str) -> Outcome:
    """Run a module of Python with the copy's own library."""
    with start(project, module, *arguments) as process:
        printed, error = process.communicate(timeout=400)
    return Outcome(process.returncode, printed, error)


def make(project: Path, preset: str, target: str, *options: str) -> Outcome:
    """Have Snakemake make one file of a study."""
    where = ("--snakefile", str(project / "Snakefile"), "--cores", "1", "--nolock", *options)
    config = ("--config", f"preset={preset}", "dataset=photos", "--")
    return run(project, "snakemake", *where, *config, target)


def text_of(report: Path) -> str:
    return " ".join(" ".join(page.extract_text().split()) for page in PdfReader(report).pages)


def break_notebook(path: Path, source: str) -> int:
    """Add a cell to the end of a notebook; return its number."""
    notebook = nbformat.read(path, 4)
    notebook.cells.append(nbformat.v4.new_code_cell(source))
    nbformat.write(notebook, path)
    return len(notebook.cells)


@dataclass
class Study:
    """The smoke study in a copy of the project: a notebook failed, was fixed, and it resumed."""

    project: Path
    earlier: float  # when a run was trained that the study then trained again
    failed: Outcome
    failed_cell: int
    left: set[str]  # after the failure: the executed notebooks of runs, and the report
    fixed: Outcome

    @property
    def folder(self) -> Path:
        return self.project / "results" / "smoke"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    project = copy_project(tmp_path_factory.mktemp("smoke") / "a project")
    folder = project / "results" / "smoke"
    notebook = project / "notebooks" / "02_vqvae.ipynb"
    whole = notebook.read_text()
    cell = break_notebook(notebook, 'if batch_size == 64: raise RuntimeError("out of paint")')
    config = TrainConfig(model="vae", dataset="photos", batch_size=32, epochs=2, limit=256)
    earlier = (fit(config, results=folder).folder / WEIGHTS).stat().st_mtime
    failed = run(project, "vqlib", "study", "smoke", "--keep-going", "--retrain")
    left = {path.name for path in (folder / "notebooks").glob("*-limit256.ipynb")}
    left |= {path.name for path in folder.glob("report.pdf")}
    notebook.write_text(whole)
    fixed = run(project, "vqlib", "study", "smoke")
    return Study(project, earlier, failed, cell, left, fixed)


def test_a_failed_notebook_fails_the_study_by_name_and_the_other_runs_are_trained(
    study: Study,
) -> None:
    *trained, failed = RUNS
    assert study.failed.code == 1
    facts = ("02_vqvae.ipynb", failed, f"cell {study.failed_cell}", "RuntimeError: out of paint")
    (line,) = [line for line in study.failed.error.splitlines() if "paint" in line]
    assert all(fact in line for fact in facts)
    assert "Traceback" not in study.failed.error
    assert study.left == {f"{name}.ipynb" for name in trained}


def test_the_fixed_study_resumes_and_makes_a_summary_of_its_runs(study: Study) -> None:
    assert study.fixed.code == 0, study.fixed.error
    summary = pd.read_csv(study.folder / "summary.csv")
    assert list(summary.run) == RUNS
    for row in summary.itertuples():
        stored = json.loads((study.folder / row.run / "evaluation.json").read_text())
        assert row.test_ssim == stored["test_ssim"]
        assert not list((study.folder / row.run).glob("resume*"))


def test_the_study_makes_figures_and_a_report_of_its_numbers(study: Study) -> None:
    report = study.folder / "report.pdf"
    assert str(report) in study.fixed.printed
    assert re.search(
        r"^time: +training .*, figures and report .*", study.fixed.printed, re.MULTILINE
    )
    figures = {path.name for path in (study.folder / "figures").iterdir()}
    names = ("figure1_reconstructions", "figure2_ssim", "figure3_loss")
    assert figures >= {f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")}
    text = text_of(report)
    for row in pd.read_csv(study.folder / "summary.csv").itertuples():
        assert f"{row.test_ssim:.{METRICS['test_ssim'].decimals}f}" in text
    assert "??" not in text


def test_a_finished_run_is_set_aside_and_trained_again_if_asked(study: Study) -> None:
    [aside] = study.folder.glob(f"before-*/{RUNS[0]}/{WEIGHTS}")
    assert aside.stat().st_mtime == study.earlier
    assert (study.folder / RUNS[0] / WEIGHTS).stat().st_mtime > study.earlier


def test_a_finished_study_is_used_as_it_is(study: Study) -> None:
    histories = [study.folder / name / "history.csv" for name in RUNS]
    written = [path.stat().st_mtime_ns for path in histories]
    again = run(study.project, "vqlib", "study", "smoke")
    assert again.code == 0
    assert "4 of 4" in again.printed
    assert [path.stat().st_mtime_ns for path in histories] == written


def test_a_run_that_takes_longer_starts_first(project: Path) -> None:
    study = load_study("smoke", root=project)
    (study.folder / "logs").mkdir(parents=True)
    _write_request(study, [1.5, 4.5, 3.5, 2.5])
    where = ("--snakefile", str(project / "Snakefile"), "--cores", "1", "--nolock", "--dry-run")
    request = study.folder / "logs" / "study.json"
    planned = run(project, "snakemake", *where, "--configfile", str(request))
    assert planned.code == 0, planned.error
    text = planned.printed + planned.error
    found = re.findall(r"output: notebooks/(\S+-limit256)\.ipynb\n(?:.+\n)*? +priority: (.+)", text)
    priorities = {name: float(priority) for name, priority in found}
    assert priorities == dict(zip(study.run_names, [1.5, 4.5, 3.5, 2.5], strict=True))


@pytest.mark.faults
def test_a_notebook_that_sets_a_value_in_a_later_cell_trains_nothing(project: Path) -> None:
    notebook = project / "notebooks" / "01_vae_baseline.ipynb"
    notebook.write_text(notebook.read_text().replace("config = T", "limit = 128\\nconfig = T"))
    name = "vae-photos-b32-e2-s0-limit256"
    assert make(project, "smoke", f"notebooks/{name}.ipynb").code != 0
    log = (project / "results" / "smoke" / "logs" / f"{name}.log").read_text()
    assert "limit 256 there, 128 here" in log
    assert not (project / "results" / "smoke" / name).exists()


def test_a_model_without_a_notebook_is_trained_by_the_command_line(project: Path) -> None:
    with open(project / "vqlib" / "models.py", "a") as library:
        library.write(THIRD_MODEL)
    preset = project / "presets" / "smoke.yaml"
    preset.write_text(preset.read_text().replace(", ".join(STUDIED), "plain") + "latent_dim: 4\n")
    name = "plain-photos-b32-e2-s0-limit256-latent_dim4"
    made = make(project, "smoke", f"notebooks/{name}.txt")
    assert made.code == 0, made.error
    evaluation = (project / "results" / "smoke" / name / "evaluation.json").read_text()
    assert (
        evaluation.strip()
        in (project / "results" / "smoke" / "notebooks" / f"{name}.txt").read_text()
    )


# --- sweeps --------------------------------------------------------------------------------

SWEEP: dict[str, Any] = {
    **{"limit": 3, "image_size": 64, "batch_size": 2, "epochs": 1},
    "vae": {"latent_dim": 16, "beta": [1, 0.1, 0.01]},
    "vqvae": {**SMALL["vqvae"], "num_embeddings": [8, 32]},
    "svae": SMALL["svae"],
    "also": [{"model": "vqvae", "num_embeddings": 8, "grid": 4}],
}
FEW: dict[str, Any] = {"dataset": "photos", "limit": 64, "batch_size": 32, "epochs": 1}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> PresetStudy:
    """Return a study of three models, whose preset and pictures have odd names.

    None of them has several batch sizes. The study has trained the last run of each.
    """
    project = copy_project(tmp_path_factory.mktemp("sweep") / "a project")
    folder = project.parent / "run #2: @work_*new*_<raw>"
    fill(folder, 12)
    fill(project.parent / "run", 12, start=50)  # where a comment would begin
    preset = {"dataset": str(folder), **SWEEP}
    (project / "presets" / "2025_11_25.yaml").write_text(json.dumps(preset))
    notebook = project / "notebooks" / "01_vae_baseline.ipynb"
    notebook.write_text(notebook.read_text().replace("limit: int = None", "limit: int = 128"))
    study = load_study("2025_11_25", root=project)
    last = {config.model: config for config in study.configs}
    for config in study.configs:
        if config not in last.values():
            (fit(config, results=study.folder).folder / WEIGHTS).unlink()
    done = run(project, "vqlib", "study", "2025_11_25")
    assert done.code == 0, done.error
    return study


def test_a_study_of_odd_names_trains_what_was_asked_for(swept: PresetStudy) -> None:
    summary = pd.read_csv(swept.summary)
    dataset = swept.configs[0].dataset
    assert list(summary.run) == swept.run_names
    assert set(summary.dataset) == {dataset}
    assert set(summary.n_train) == {3}
    assert Path(dataset).name in text_of(swept.report)


def test_a_study_of_any_sweep_has_a_summary_of_what_varies(swept: PresetStudy) -> None:
    summary = pd.read_csv(swept.summary)
    assert list(summary.columns[len(SUMMARY_COLUMNS) :]) == ["beta", "grid", "num_embeddings"]
    assert summary.beta[:3].tolist() == [1, 0.1, 0.01]
    assert summary.num_embeddings[3:5].tolist() == [8, 32]


def test_its_figures_and_report_name_what_varies(swept: PresetStudy) -> None:
    alt = {path.stem: alt_text(path) for path in swept.figures.glob("*.png")}
    assert "betas 0.01 to 1" in alt["figure2_ssim"]
    assert "codebook sizes 8 to 32" in alt["figure2_ssim"]
    assert "grid 4, codebook size 8" in alt["figure3_loss"]
    text = text_of(swept.report)
    assert all(fact in text for fact in ("VAE, VQ-VAE and Spatial VAE", "Beta Grid Codebook size"))
    assert "by batch size" not in text
    assert "??" not in text


def look_at(project: Path, folder: Path, model: str) -> dict[str, str]:
    """Run the notebooks that compare runs on a folder; return the alt texts of their figures."""
    for name in ("03_ssim_comparison", "04_loss_analysis"):
        source, output = project / "notebooks" / f"{name}.ipynb", folder / f"{name}.ipynb"
        given = {"results": folder, "figures_folder": folder / "figures"}
        given |= {"model": model} if name.startswith("04") else {}
        options = [word for pair in given.items() for word in ("-p", *map(str, pair))]
        done = run(project, "papermill", str(source), str(output), *options)
        assert done.code == 0, done.error
    return {path.stem: alt_text(path) for path in (folder / "figures").glob("*.png")}


def test_runs_gathered_by_papermill_in_a_folder_are_compared(project: Path) -> None:
    folder = project / "results" / "gathered"
    settings = {**FEW, **SMALL["vqvae"], "num_embeddings": 8}
    fit(TrainConfig(model="vqvae", **settings), results=folder)
    given = settings | {"num_embeddings": 16, "learning_rate": 1e-3, "results": folder}
    options = [word for name, value in given.items() for word in ("-p", name, str(value))]
    source = str(project / "notebooks" / "02_vqvae.ipynb")
    made = run(project, "papermill", source, str(folder / "02.ipynb"), *options)
    assert made.code == 0, made.error
    alt = look_at(project, folder, "vqvae")
    assert "codebook sizes 8 to 16" in alt["figure2_ssim"]
    assert "learning rate 0.001, codebook size 16" in alt["figure3_loss"]


def test_one_run_of_any_model_is_a_study(project: Path) -> None:
    folder = project / "results" / "alone"
    fit(TrainConfig(model="svae", **FEW, **SMALL["svae"]), results=folder)
    alt = look_at(project, folder, "svae")
    assert "Spatial VAE" in alt["figure1_reconstructions"]
    assert "at batch size 32" in alt["figure2_ssim"]
    summary = project / "report" / "summary.ipynb"
    where = ("-p", "results", str(folder), "-p", "figures_folder", str(folder / "figures"))
    made = run(project, "vqlib", "notebook", str(summary), str(folder / "summary.ipynb"), *where)
    assert made.code == 0, made.error
    assert "# Spatial VAE on photographs" in (folder / "summary.ipynb").read_text()


# --- the README ----------------------------------------------------------------------------

README = """\
before
<!-- [[[cog
{code}
]]] -->
old
<!-- [[[end]]] -->
after
"""


def test_the_readme_is_restored_if_its_rule_fails_and_updated_the_next_time(project: Path) -> None:
    readme = project / "README.md"

    def update(code: str) -> tuple[int, str]:
        """Run the rule on a README with this code; return exit code and what the code wrote."""
        readme.write_text(README.format(code=code))
        made = make(project, "paper", "notebooks/README.updated", "--allowed-rules", "readme")
        return made.code, readme.read_text().split("]]] -->\n")[1].split("<!--")[0]

    assert update("nothing") == (1, "old\n")
    log = (project / "results" / "paper" / "logs" / "README.log").read_text()
    assert "vqlib: README.md: NameError: name 'nothing' is not defined" in log

    code, written = update("cog.outl(open('results/paper/summary.csv').readline().strip())")
    assert code == 0
    assert written.startswith("model,batch_size,seed")


@pytest.fixture
def long_study(project: Path) -> Iterator[subprocess.Popen[str]]:
    """A smoke study of hundreds of epochs, once it has trained some of them."""
    preset = project / "presets" / "smoke.yaml"
    preset.write_text(preset.read_text().replace("epochs: 2", "epochs: 200"))
    with start(project, "vqlib", "study", "smoke") as process:
        deadline = time.monotonic() + 200
        while not list((project / "results" / "smoke").glob("*/resume.pt")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield process
        process.terminate()


def test_an_interrupted_study_leaves_no_process_and_resumes(
    long_study: subprocess.Popen[str], project: Path
) -> None:
    folder = project / "results" / "smoke"
    trained = [json.loads(p.read_text())["pid"] for p in folder.glob("*/progress.json")]
    long_study.send_signal(signal.SIGINT)
    _, error = long_study.communicate(timeout=60)
    assert long_study.returncode == 130
    assert "same command" in error
    assert not [pid for pid in trained if Path(f"/proc/{pid}").exists()]
    assert not list(folder.glob(".snakemake/locks/*"))
