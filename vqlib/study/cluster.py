"""A study's runs on a SLURM cluster: what each asks for, and how Snakemake is told to go there."""

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
_ENDED = re.compile(r"message: SLURM.job .* status is: '(\w+)'(?s:.*?)output: notebooks/(.+)\.\w+")
_REFUSED = re.compile(r"The error message was '(.*)'\.(?s:.*?)output: notebooks/(.+)\.\w+")


@dataclass(frozen=True)
class Job:
    """What one training run asks for; on the machine itself only its cores count."""

    cores: int = 1
    memory: int = 4000  # MB
    minutes: int = 360  # after which the cluster stops it, and it goes on as a second job
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
        """The job that a preset asks for; an unknown name is an error."""
        known = [field.name for field in fields(cls)]
        if not isinstance(values, dict) or not set(values) <= set(known):
            raise UserError(f"job must give some of {', '.join(known)}, got {values!r}")
        return cls(**values)


class Slurm:
    """The cluster that this machine can submit jobs to.

    Raises `UserError` where it can submit none.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec(PLUGIN) is None:
            raise UserError(
                "Snakemake's plugin for SLURM is not installed: "
                '.venv/bin/pip install --editable ".[slurm]"'
            )
        if shutil.which("sbatch") is None:
            raise UserError("there is no sbatch here: jobs are submitted from a cluster's machine")
        self.prefix = f"vqlib_{uuid4().hex[:8]}"

    def options(self, root: Path) -> list[str]:
        """Return Snakemake's options for it, with the project's `profiles/slurm`.

        Args:
            root: the project's folder.
        """
        accounting = subprocess.run(["sacct", "--noheader"], capture_output=True, check=False)
        return [
            *("--workflow-profile", str(root / "profiles" / "slurm")),
            *("--slurm-jobname-prefix", self.prefix),
            *("--quiet", "progress"),  # the log is to say which job failed, and how
            *(["--slurm-status-command", "squeue"] if accounting.returncode else []),
        ]

    def cancel(self) -> None:
        """Cancels what is left of this study's jobs: Snakemake knows only some of them."""
        queue = subprocess.run(
            ["squeue", "--me", "--noheader", "--format", "%i %j"],
            capture_output=True,
            text=True,
            check=False,
        )
        jobs = [line.split() for line in queue.stdout.splitlines()]
        if left := [number for number, name in jobs if name.startswith(self.prefix)]:
            subprocess.run(["scancel", *left], check=False)


def lost_jobs(log: str) -> dict[str, str]:
    """The runs that no notebook can say anything of, by name: what became of their last jobs.

    Args:
        log: Snakemake's.
    """
    refused = {run: f"its job was not taken: {said}" for said, run in _REFUSED.findall(log)}
    states = {run: state for state, run in _ENDED.findall(log)}  # the later of two tries
    ended = {run: f"its job was ended: {state}" for run, state in states.items()}
    return refused | {run: said for run, said in ended.items() if states[run] != "FAILED"}
