"""A study on a SLURM cluster: a real one of a single node, if it can be started."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from conftest import refusal

from vqlib.paths import ROOT
from vqlib.study import cluster, load_study, run_study
from vqlib.study.cluster import Job, lost_jobs

DAEMONS = ("slurmctld", "slurmd", "munged", "sbatch")
SUDO = [] if os.geteuid() == 0 else ["sudo", "-n"]
PATIENCE = 500.0
IN_A_HURRY = "slurm-init-seconds-before-status-checks: 5\nseconds-between-status-checks: 5\n"
JOB = "job: {cores: 1, memory: 1500, minutes: 30, gpus: 1}\n"

Smoke = Callable[..., subprocess.Popen]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start a cluster of one node while the tests last; if that fails, they are skipped."""
    path = os.environ["PATH"] + ":/usr/sbin"
    if missing := [name for name in DAEMONS if shutil.which(name, path=path) is None]:
        pytest.skip(f"{', '.join(missing)} missing: install Debian's slurm-wlm and munge")
    if find_spec(cluster.PLUGIN) is None:
        pytest.skip('the plugin is missing: .venv/bin/pip install --editable ".[slurm]"')
    if Path("/etc/slurm/slurm.conf").exists():
        pytest.skip("this machine belongs to a cluster already: /etc/slurm/slurm.conf")
    if SUDO and subprocess.run([*SUDO, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs root, or sudo without a password, to start SLURM's daemons")
    command = [*SUDO, str(ROOT / "tests" / "slurm.sh")]
    folder = str(tmp_path_factory.mktemp("slurm"))
    started = subprocess.run([*command, "start", folder], stderr=subprocess.PIPE, check=False)
    try:
        if started.returncode:
            pytest.skip(f"the cluster did not start: {started.stderr.decode()[-300:]}")
        yield
    finally:
        subprocess.run([*command, "stop", folder], check=False)


@pytest.fixture
def smoke(slurm: None, project: Path) -> Iterator[Smoke]:
    """Start the smoke study, with more epochs than it has, on the cluster; end it with the test."""
    preset = project / "presets" / "smoke.yaml"
    with open(project / "profiles" / "slurm" / "config.yaml", "a") as profile:
        profile.write(IN_A_HURRY)
    processes = []

    def start(epochs: int) -> subprocess.Popen:
        preset.write_text(preset.read_text().replace("epochs: 2", f"epochs: {epochs}") + JOB)
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "vqlib", "study", "smoke", "--executor", "slurm"],
                env=os.environ | {"PYTHONPATH": f"{project}:{os.environ.get('PYTHONPATH', '')}"},
                cwd=project.parent,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return processes[0]

    yield start
    for process in processes:
        process.terminate()
        process.communicate(timeout=60)


def queue(fields: str) -> list[str]:
    """Return a line for each of the cluster's jobs, ended ones too."""
    command = ["squeue", "--noheader", "--states", "all", "--format", fields]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def wait_for(happens: Callable[[], object], process: subprocess.Popen) -> None:
    """Wait until it happens; the process must not end before."""
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_each_run_is_a_job_and_one_that_is_killed_is_resumed(smoke: Smoke, project: Path) -> None:
    process = smoke(epochs=10)
    folder = project / "results" / "smoke"
    run = "vqvae-photos-b32-e10-s0-limit256"
    wait_for((folder / run / "resume.pt").exists, process)
    names = {line.split()[0]: line.split()[1] for line in queue("%i %k")}
    wanted = dict(line.split(maxsplit=1) for line in queue("%i %C %m %l"))
    assert list(wanted.values()) == 4 * ["1 1500M 30:00"]
    number = next(number for number, name in names.items() if name.endswith(run))
    shown = subprocess.run(
        ["scontrol", "show", "job", number], capture_output=True, text=True, check=True
    )
    assert "TresPerJob=gres:gpu:1" in shown.stdout
    subprocess.run(["scancel", number], check=True)
    printed, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, printed + error
    assert sorted(pd.read_csv(folder / "summary.csv").run) == sorted(
        name.name for name in folder.glob("*-limit256")
    )
    assert "resumed after epoch" in (folder / "notebooks" / f"{run}.ipynb").read_text()
    assert (folder / "report.pdf").exists()
    assert sorted(queue("%T")) == ["CANCELLED"] + 4 * ["COMPLETED"]


def test_an_interrupted_study_leaves_no_job(smoke: Smoke, project: Path) -> None:
    before = set(queue("%i"))
    process = smoke(epochs=2000)
    folder = project / "results" / "smoke"
    wait_for(lambda: list(folder.glob("*/resume.pt")), process)
    trained = [json.loads(p.read_text())["pid"] for p in folder.glob("*/progress.json")]
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in error
    states = [line.split() for line in queue("%i %T")]
    assert {state for number, state in states if number not in before} <= {"CANCELLED"}
    time.sleep(3)
    assert not [pid for pid in trained if Path(f"/proc/{pid}").exists()]


@pytest.fixture
def preset(project: Path) -> Path:
    """The smoke preset of a copy of the project."""
    return project / "presets" / "smoke.yaml"


def test_a_preset_says_what_its_jobs_ask_for(preset: Path, project: Path) -> None:
    assert load_study("smoke", root=project).job == Job()
    preset.write_text(preset.read_text() + JOB)
    job = Job(cores=1, memory=1500, minutes=30, gpus=1)
    assert load_study("smoke", root=project).job == job


@pytest.mark.faults
@pytest.mark.parametrize(
    ("job", "facts"),
    [
        ("job: {gpu: 1}", ("cores, memory, minutes, gpus", "{'gpu': '1'}")),
        ("job: 3", ("cores, memory, minutes, gpus", "got '3'")),
        ("job: {cores: 0}", ("cores", "at least 1", "got 0")),
        ("job: {gpus: -1}", ("gpus", "at least 0", "got -1")),
        ("job: {memory: 3 GB}", ("memory", "whole number", "'3 GB'")),
    ],
)
def test_a_job_that_makes_no_sense_is_refused_by_name(
    preset: Path, project: Path, job: str, facts: tuple[str, ...]
) -> None:
    preset.write_text(preset.read_text() + job)
    message = refusal(lambda: load_study("smoke", root=project))
    assert all(fact in message for fact in ("smoke.yaml", "job", *facts)), message


@pytest.mark.faults
def test_a_missing_plugin_or_cluster_is_told_before_anything_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(executor: str) -> None:
        run_study("smoke", executor=executor, root=project)

    assert all(name in refusal(lambda: run("pbs")) for name in ("'pbs'", *cluster.EXECUTORS))
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
    assert '--editable ".[slurm]"' in refusal(lambda: run("slurm"))
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(cluster.shutil, "which", lambda name: None)
    assert "sbatch" in refusal(lambda: run("slurm"))
    assert not (project / "results" / "smoke").exists()


FAILED = """\
Error in rule train_in_notebook:
    message: SLURM-job '{}' failed, SLURM status is: '{}'. For further error details
    jobid: 6
    output: notebooks/{}
    external_jobid: 4
"""
REFUSED = """\
Error in rule train_in_notebook:
    message: SLURM sbatch failed. The error message was 'sbatch: error: invalid partition'.
    sbatch call:
    output: notebooks/c.ipynb
"""


@pytest.mark.faults
def test_what_the_cluster_did_to_a_run_is_told() -> None:
    """By its last job; a job that failed by itself has a log that says why."""
    jobs = (
        *((1, "TIMEOUT", "a.ipynb"), (2, "TIMEOUT", "b.ipynb"), (3, "OUT_OF_MEMORY", "a.ipynb")),
        *((4, "FAILED", "b.ipynb"), (5, "NODE_FAIL", "d-decay0.5.txt")),
    )
    lost = lost_jobs("\n".join(FAILED.format(*job) for job in jobs) + REFUSED)
    states = {run: what.split()[-1] for run, what in lost.items()}
    assert states == {"a": "OUT_OF_MEMORY", "c": "partition", "d-decay0.5": "NODE_FAIL"}
