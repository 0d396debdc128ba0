"""A study on a SLURM cluster: what each run asks for, and how Snakemake submits it."""

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from uuid import uuid4

from vqlib.config import typed
from vqlib.errors import UserError

EXECUTORS = ("local", "slurm")
PLUGIN = "snakemake_executor_plugin_slurm"
# What SLURM did to a job stands only in the text of Snakemake's messages.
_ENDED = re.compile(r"message: SLURM.job .* status is: '(\w+)'(?s:.*?)output: notebooks/(.+)\.\w+")
_REFUSED = re.compile(r"The error message was '(.*)'\.(?s:.*?)output: notebooks/(.+)\.\w+")


@dataclass(frozen=True)
class Job:
    """What a training run asks of a cluster. Without a cluster only its cores count.

    Attributes:
        cores: CPU cores, one thread each.
        memory: in MB.
        minutes: after these the cluster stops the job, and a second job resumes the run.
        gpus: how many.

    Raises:
        UserError: if a value makes no sense.
    """

    cores: int = 1
    memory: int = 4000
    minutes: int = 360
    gpus: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, typed(f"job: {field.name}", value, int))
            lowest = field.name != "gpus"
            if getattr(self, field.name) < lowest:
                raise UserError(f"job: {field.name} must be at least {lowest:d}, got {value}")

    @classmethod
    def from_dict(cls, values: Any) -> "Job":
        """Build a job from names and values; an unknown name is a `UserError`."""
        known = [field.name for field in fields(cls)]
        if not isinstance(values, dict) or not set(values) <= set(known):
            raise UserError(f"job takes only {', '.join(known)}, got {values!r}")
        return cls(**values)


class Slurm:
    """A SLURM cluster that this machine can submit jobs to.

    Raises:
        UserError: if Snakemake's plugin or SLURM's `sbatch` is missing.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec(PLUGIN) is None:
            raise UserError(
                "Snakemake's plugin for SLURM is not installed: "
                '.venv/bin/pip install --editable ".[slurm]"'
            )
        if shutil.which("sbatch") is None:
            raise UserError("sbatch was not found: run this on a machine that can submit jobs")
        self.prefix = f"vqlib_{uuid4().hex[:8]}"

    def options(self, root: Path) -> list[str]:
        """Return Snakemake's options for it; most stand in `profiles/slurm/config.yaml`.

        Args:
            root: the project's folder.
        """
        accounting = subprocess.run(["sacct", "--noheader"], capture_output=True, check=False)
        return [
            *("--workflow-profile", str(root / "profiles" / "slurm")),
            *("--slurm-jobname-prefix", self.prefix),
            *("--quiet", "progress"),  # so that the log says which job failed, and how
            *(["--slurm-status-command", "squeue"] if accounting.returncode else []),
        ]

    def cancel(self) -> None:
        """Cancel what is left of this study's jobs, of which Snakemake knows only some."""
        queue = subprocess.run(
            ["squeue", "--me", "--noheader", "--format", "%i %j"],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        jobs = [line.split() for line in queue.stdout.splitlines()]
        if left := [number for number, name in jobs if name.startswith(self.prefix)]:
            subprocess.run(["scancel", *left], check=False)


def lost_jobs(log: str) -> dict[str, str]:
    """Return the runs whose last job SLURM refused or ended, with what became of it.

    The logs of such runs have no error message. A run whose job failed by itself is left out.

    Args:
        log: the text of Snakemake's log.
    """
    refused = {run: f"SLURM refused its job: {error}" for error, run in _REFUSED.findall(log)}
    states = {run: state for state, run in _ENDED.findall(log)}  # the last of several jobs
    ended = {run: f"SLURM ended its job: {state}" for run, state in states.items()}
    return refused | {run: what for run, what in ended.items() if states[run] != "FAILED"}
