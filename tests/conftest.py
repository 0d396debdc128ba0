"""Small data and small trained runs that several tests share; nothing here touches the network."""

import os
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from vqlib import Images, Run, TrainConfig, UserError, fit, load_images
from vqlib.paths import ROOT
from vqlib.study import Study, write_summary

MODELS = ("vae", "vqvae")
PARTS = (  # of the project
    *("vqlib", "notebooks", "presets", "report", "profiles", "Snakefile"),
    *("results/paper", "results/precision", "results/longer", "results/codebook"),
)
SMALL = {  # a second or less an epoch
    "vae": {"latent_dim": 16},
    "vqvae": {
        "num_hiddens": 16,
        "num_residual_hiddens": 8,
        "num_residual_layers": 1,
        "num_embeddings": 32,
        "embedding_dim": 8,
    },
}


LONGEST = ("test_smoke.py", "test_cluster.py", "test_browser.py")


def pytest_configure() -> None:
    """A shell starts what runs in the background deaf to Ctrl-C, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take minutes go first: no core is left with one of them in the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def refusal(ask: Callable[[], object]) -> str:
    """Return the one line with which something is refused."""
    with pytest.raises(UserError) as refused:
        ask()
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that would download something finds the network gone."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture(scope="session")
def cifar10_root() -> Path:
    """The folder that holds CIFAR-10's own; without it the test is skipped."""
    root = Path(os.environ.get("VQLIB_DATA") or ROOT / "data")
    if not (root / "cifar-10-batches-py").is_dir():
        pytest.skip(f"CIFAR-10 is not in {root} (set VQLIB_DATA to have this tested)")
    return root


@pytest.fixture(scope="session")
def photos() -> Images:
    return load_images("photos")


@pytest.fixture(scope="session")
def few_photos(photos: Images) -> Images:
    """100 for training, which batches of 32 do not divide, and 40 for testing."""
    return Images("photos", photos.train[:100], photos.test[:40])


@pytest.fixture(scope="session")
def picture_folder(few_photos: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 + 10 photographs as PNG files in train/ and test/, in two classes."""
    root = tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 40), ("test", 10)):
        for number, pixels in enumerate(getattr(few_photos, split)[:count]):
            path = root / split / ("even", "odd")[number % 2] / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return root


@pytest.fixture(scope="session")
def small_config() -> Callable[..., TrainConfig]:
    """Makes a config of a small model on the photos."""

    def make(model: str, **values: object) -> TrainConfig:
        few = {"dataset": "photos", "batch_size": 32, "epochs": 3, "precision": "float32"}
        return TrainConfig(**{"model": model, **few, **SMALL[model], **values})

    return make


@pytest.fixture(scope="session")
def small_runs(
    few_photos: Images,
    small_config: Callable[..., TrainConfig],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Run]:
    """A finished, never interrupted run of each model. Copy a folder before changing it."""
    results = tmp_path_factory.mktemp("runs")
    return {model: fit(small_config(model), few_photos, results) for model in MODELS}


@pytest.fixture
def mine(small_runs: dict[str, Run], tmp_path: Path) -> Study:
    """A finished study of the small runs with its summary, in a project of its own."""
    study = Study("mine", [run.config for run in small_runs.values()], root=tmp_path)
    for run, folder in zip(small_runs.values(), study.run_folders, strict=True):
        shutil.copytree(run.folder, folder)
    write_summary(study)
    return study


@pytest.fixture
def random_images() -> torch.Tensor:
    """Float images (6, 3, 32, 32) in [0, 1]."""
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def summary() -> pd.DataFrame:
    """As of four full runs on CIFAR-10, with invented numbers."""
    rows = [
        *(("vae", 16, 0.41, 0.26, 30.0, 20.0), ("vae", 256, 0.39, 0.28, 31.0, 21.0)),
        *(("vqvae", 16, 0.87, 0.050, 0.075, 0.049), ("vqvae", 256, 0.85, 0.056, 0.108, 0.054)),
    ]
    columns = ["model", "batch_size", "test_ssim", "test_nmse", "train_loss"]
    table = pd.DataFrame(rows, columns=[*columns, "train_reconstruction_loss"])
    return table.assign(
        seed=0, epochs=40, steps=[125_000, 7_840] * 2, precision="bfloat16", device="cpu",
        test_mse=0.0632 * table.test_nmse, test_psnr=24.5, perplexity=[None, None, 400.0, 300.0],
        bits=[29.0, 31.0, 576.0, 576.0], dataset="cifar10", n_train=50_000, n_test=10_000,
        learning_rate=5e-4,
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project without runs of a preset, in a folder with a space in its name."""
    return copy_project(tmp_path / "a project")


def copy_project(folder: Path) -> Path:
    """Copies what a study needs to a new folder, and returns that."""
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    return folder
