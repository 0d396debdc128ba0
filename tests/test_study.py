"""The command that runs a study: what it does before and after Snakemake, and how it is stopped."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from conftest import MODELS, refusal

from vqlib import Run, load_run
from vqlib.study import Study, load_summary, run, run_study, status, write_summary
from vqlib.system.files import sole_writer

PRESET = f"""\
dataset: photos
models: [{", ".join(MODELS)}]
batch_sizes: [16]
seeds: [0]
epochs: 3
"""


@pytest.fixture
def preset(tmp_path: Path) -> str:
    """The name of a preset in a project of its own; what needs Snakemake fails."""
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "mine.yaml").write_text(PRESET)
    (tmp_path / "notebooks").symlink_to(run.ROOT / "notebooks")
    return "mine"


@pytest.fixture(autouse=True)
def no_snakemake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that would start Snakemake fails."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("Snakemake was started")

    monkeypatch.setattr(run.psutil, "Popen", refuse)
