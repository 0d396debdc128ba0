"""vqlib as others install it: from a wheel, used from a folder of their own."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from albums import fill

from vqlib import TrainConfig, __version__
from vqlib.paths import ROOT

PARTS = ("vqlib", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of packages with vqlib installed from its wheel."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    built = subprocess.run([*pip, "-w", str(source), str(source)], capture_output=True, check=False)
    if built.returncode:
        pytest.skip("this environment cannot build a wheel: pip install setuptools wheel")
    (wheel,) = source.glob("*.whl")
    assert __version__ in wheel.name
    zipfile.ZipFile(wheel).extractall(site)
    return site


class Installed:
    """Runs the installed vqlib in a folder."""

    def __init__(self, site: Path, folder: Path):
        self.site, self.folder = site, folder

    def __call__(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command, which may fail."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("VQLIB_")}
        return subprocess.run(
            [sys.executable, "-m", "vqlib", *arguments],
            env=env | {"PYTHONPATH": str(self.site), **variables},
            cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture
def vqlib(site: Path, tmp_path: Path) -> Installed:
    return Installed(site, tmp_path)


def test_runs_go_under_the_working_folder(vqlib: Installed, site: Path) -> None:
    fill(vqlib.folder / "pics", 12)
    train = ("train", "vae", "--dataset", "pics", "--epochs", "1", "--latent-dim", "4")
    done = vqlib(*train)
    assert done.returncode == 0, done.stderr
    dataset = str((vqlib.folder / "pics").resolve())
    name = TrainConfig(model="vae", dataset=dataset, epochs=1, latent_dim=4).run_name
    assert f"run folder: {vqlib.folder / 'results' / 'runs' / name}" in done.stdout
    assert f"results/runs/{name} " in vqlib("runs").stdout
    assert "finished, read from" in vqlib(*train).stdout
    assert sorted(path.name for path in site.iterdir() if path.suffix != ".dist-info") == ["vqlib"]
    elsewhere = vqlib("runs", VQLIB_HOME=str(vqlib.folder / "elsewhere"))
    assert elsewhere.stdout == "no finished runs\n"


@pytest.mark.faults
def test_what_needs_the_project_says_so(vqlib: Installed) -> None:
    done = vqlib("study", "smoke")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert all(fact in done.stderr for fact in ("presets", "checkout", "VQLIB_HOME"))


def test_a_checkout_s_presets_are_found_from_the_wheel(vqlib: Installed) -> None:
    done = vqlib("study", "nothing", VQLIB_HOME=str(ROOT))
    assert "choose one of generation, paper" in done.stderr


def test_data_are_sought_in_the_own_folder_or_kept_in_the_cache(site: Path, tmp_path: Path) -> None:
    code = "from vqlib.system.data import data_root; print(data_root())"

    def root(folder: Path) -> Path:
        env = {k: v for k, v in os.environ.items() if not k.startswith("VQLIB_")}
        env |= {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        command = [sys.executable, "-c", code]
        return Path(subprocess.check_output(command, env=env, cwd=folder, text=True).strip())

    assert root(tmp_path) == tmp_path / "cache" / "vqlib" / "data"
    (tmp_path / "data").mkdir()
    assert root(tmp_path) == tmp_path / "data"
