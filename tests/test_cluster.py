"""A study on a SLURM cluster: a real one of a single node, where it can be started."""

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

from vqlib import UserError, cluster, study
from vqlib.cluster import Job, Slurm
from vqlib.paths import ROOT
from vqlib.study import load_study

DAEMONS = ("slurmctld", "slurmd", "munged", "sbatch")
SUDO = [] if os.geteuid() == 0 else ["sudo", "-n"]
PATIENCE = 240.0
IN_A_HURRY = "slurm-init-seconds-before-status-checks: 5\nseconds-between-status-checks: 5\n"
JOB = "job: {cores: 1, memory: 1500, minutes: 30, gpus: 1}\n"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster of one node while the tests last; without it they are skipped."""
    path = os.environ["PATH"] + ":/usr/sbin"
    if missing := [name for name in DAEMONS if shutil.which(name, path=path) is None]:
        pytest.skip(f"{', '.join(missing)} not here: needs Debian's slurm-wlm and munge")
    if find_spec(cluster.PLUGIN) is None:
        pytest.skip('needs the plugin: .venv/bin/pip install --editable ".[slurm]"')
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
def smoke(slurm: None, project: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts the smoke study, longer than it is, on the cluster; ended with the test."""
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
    """A line for each of the cluster's jobs, those that have ended too."""
    command = ["squeue", "--noheader", "--states", "all", "--format", fields]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def wait_for(happens: Callable[[], object], process: subprocess.Popen) -> None:
    """Until it happens; the process must not end before."""
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_each_run_is_a_job_and_one_that_is_killed_is_resumed(smoke, project):
    process = smoke(epochs=20)
    folder = project / "results" / "smoke"
    run = "vqvae-photos-b32-e20-s0-limit256"
    wait_for((folder / run / "resume.pt").exists, process)
    jobs = dict(line.rsplit(" ", 1) for line in queue("%C %m %l %b %i %k"))
    assert len(jobs) == 4  # noqa
    number = next(i for i, comment in (x.split() for x in queue("%i %k")) if run in comment)
    subprocess.run(["scancel", number], check=True)
    said, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said + error
    assert sorted(pd.read_csv(folder / "summary.csv").run) == sorted(
        name.name for name in folder.glob("*-limit256")
    )
    assert "resumed after epoch" in (folder / "notebooks" / f"{run}.ipynb").read_text()
    assert (folder / "report.pdf").exists()
    assert sorted(queue("%T")) == ["CANCELLED"] + 4 * ["COMPLETED"]


def test_an_interrupted_study_leaves_no_job(smoke, project):
    before = set(queue("%i"))
    process = smoke(epochs=2000)
    folder = project / "results" / "smoke"
    wait_for(lambda: list(folder.glob("*/resume.pt")), process)
    trained = [json.loads(p.read_text())["pid"] for p in folder.glob("*/progress.json")]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on from the last epoch" in said
    states = [line.split() for line in queue("%i %T")]
    assert {state for number, state in states if number not in before} <= {"CANCELLED"}
    time.sleep(3)
    assert not [pid for pid in trained if Path(f"/proc/{pid}").exists()]
