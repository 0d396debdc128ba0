"""What containers and hosted services run is there, and is what `make` runs."""

import json
import os
import re
import subprocess
from importlib.metadata import requires

import yaml
from packaging.requirements import Requirement

from vqlib.paths import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_development_container_sets_up_what_make_does() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    (target,) = re.findall(r"^make (\S+)$", container["postCreateCommand"])
    (ready,) = re.findall(r"^READY := (\S+)$", MAKEFILE, re.MULTILINE)
    assert target == ready
    settings = container["customizations"]["vscode"]["settings"]
    folder = ready.split("/")[0]
    assert settings["python.defaultInterpreterPath"].endswith(f"/{folder}/bin/python")


def test_all_containers_have_the_python_that_the_lock_is_made_for() -> None:
    image = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())["image"]
    runtime = (ROOT / ".binder" / "runtime.txt").read_text().strip()
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (version,) = (one.split("=")[1] for one in conda if str(one).startswith("python="))
    assert (image, runtime) == (f"python:{version}", f"python-{version}")


def test_an_image_of_repo2docker_has_the_lock_and_the_project() -> None:
    script = ROOT / ".binder" / "postBuild"
    installed = [line.split("install")[1] for line in script.read_text().splitlines()
                 if line.startswith("python -m pip install")]  # fmt: skip
    assert os.access(script, os.X_OK)
    assert "--requirement requirements.lock" in installed[0]
    assert installed[1].split()[-2:] == ["--editable", "."]


def test_make_can_set_up_a_torch_without_gpu_libraries() -> None:
    command = ["make", "--dry-run", "--always-make", "--directory", str(ROOT), "TORCH=cpu"]
    recipe = subprocess.run(
        [*command, ".venv/ready"], capture_output=True, text=True, check=True
    ).stdout
    assert "--torch-backend cpu --requirement .venv/cpu.lock --editable ." in recipe
    (left_out,) = re.findall(r"grep -vE '(.*)' requirements.lock > .venv/cpu.lock", recipe)
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    kept = {line.split("==")[0] for line in lock if not re.match(left_out, line)}
    needs = [Requirement(text) for text in requires("torch") or []]
    on_linux = {need.name for need in needs if "Linux" in str(need.marker)}
    assert "torch" in kept
    assert not on_linux & kept
