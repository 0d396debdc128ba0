"""Data, settings and small trained runs that several files share; none needs the network."""

import inspect
import math
import os
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import torch
from faults import LONG
from hypothesis import HealthCheck, settings
from PIL import Image
from torch import Tensor, nn

from vqlib import Images, Run, TrainConfig, UserError, fit, load_images, models
from vqlib.figures import Picture
from vqlib.images import IMAGE_SHAPE, scale
from vqlib.models import ImageModel
from vqlib.paths import ROOT
from vqlib.study import Study, write_summary
from vqlib.study.presets import NOTEBOOKS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

STUDIED = tuple(NOTEBOOKS)  # the models of notebooks and presets
PARTS = (  # of the project
    *("vqlib", "notebooks", "presets", "report", "profiles", "Snakefile", "README.md", ".jupyter"),
    *("results/paper", "results/precision", "results/longer", "results/codebook", "results/rate"),
    "results/generation",
)
SMALL: dict[str, dict[str, int]] = {  # settings with which a model trains in a second or less
    "vae": {"latent_dim": 16},
    "vqvae": {
        "num_hiddens": 16,
        "num_residual_hiddens": 8,
        "num_residual_layers": 1,
        "num_embeddings": 32,
        "embedding_dim": 8,
    },
    "svae": {
        "num_hiddens": 16,
        "num_residual_hiddens": 8,
        "num_residual_layers": 1,
        "latent_channels": 4,
    },
}
LONGEST = ("test_smoke.py", "test_cluster.py", "test_browser.py", "test_page.py", "test_site.py")

MakeConfig = Callable[..., TrainConfig]


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes that tests start, even if a shell started pytest with `&`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files that take minutes first, so that no core is left with one at the end."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


def refusal(ask: Callable[[], object], *facts: object) -> str:
    """Return the one line of the `UserError` that `ask` ends in; it must state all the facts."""
    with pytest.raises(UserError) as refused:
        ask()
    message = str(refused.value)
    assert "\n" not in message
    assert [fact for fact in facts if str(fact) not in message] == []
    return message


def outcome(ask: Callable[[], Any]) -> tuple[Any, str]:
    """Return what `ask` returns and an empty text, or None and the line of its `UserError`."""
    answer, refused = None, ""
    try:
        answer = ask()
    except UserError as error:
        refused = str(error)
    assert "\n" not in refused
    return answer, refused


def examples(count: int) -> Callable:
    """Let hypothesis try so many examples, the same ones each time; many more if FAULTS=long."""
    return settings(
        max_examples=20 * count if LONG else count,
        derandomize=not LONG,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def drawing(*modules: ModuleType) -> list[str]:
    """Return the sorted names of public functions of these modules that return a `Picture`."""
    return sorted(
        name
        for module in modules
        for name, thing in inspect.getmembers(module, inspect.isfunction)
        if thing.__module__ == module.__name__
        and inspect.signature(thing).return_annotation is Picture
        and not name.startswith("_")
    )


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every download fail as it does without a network."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Leave the user's cache alone, also in the processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Start Chromium or Chrome; skip the test if there is none."""
    extra = 'the browser tests need: .venv/bin/pip install -e ".[browser]"'
    playwright = pytest.importorskip("playwright.sync_api", reason=extra)
    names = ("chromium", "google-chrome", "chromium-browser")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("the browser tests need Chromium or Chrome")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def cifar10_root() -> Path:
    """Return the folder to set VQLIB_DATA to; skip the test if CIFAR-10 is not in it."""
    root = Path(os.environ.get("VQLIB_DATA") or ROOT / "data")
    if not (root / "cifar-10-batches-py").is_dir():
        pytest.skip(f"CIFAR-10 is not in {root}: set VQLIB_DATA to run this test")
    return root


@pytest.fixture(scope="session")
def photos() -> Images:
    """Return the photos, all of them."""
    return load_images("photos")


@pytest.fixture(scope="session")
def few_photos(photos: Images) -> Images:
    """Return 100 images for training, which batches of 32 do not divide, and 40 for testing."""
    return Images("photos", photos.train[:100], photos.test[:40])


@pytest.fixture(scope="session")
def picture_folder(few_photos: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 40 + 10 photos as PNG files in train/ and test/, in two classes."""
    root = tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 40), ("test", 10)):
        for number, pixels in enumerate(getattr(few_photos, split)[:count]):
            path = root / split / ("even", "odd")[number % 2] / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return root


@pytest.fixture(scope="session")
def small_config() -> MakeConfig:
    """Return a function that makes the config of a small model on the photos."""

    def make(model: str, **values: object) -> TrainConfig:
        few = {"dataset": "photos", "batch_size": 32, "epochs": 3, "precision": "float32"}
        return TrainConfig(**{"model": model, **few, **SMALL.get(model, {}), **values})

    return make


@pytest.fixture(scope="session")
def small_runs(
    few_photos: Images, small_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Run]:
    """Return a finished run of each model; copy its folder before changing it."""
    results = tmp_path_factory.mktemp("runs")
    return {model: fit(small_config(model), few_photos, results) for model in models.MODELS}


class Autoencoder(ImageModel):
    """A plain autoencoder, whose loss has a single term; it shares a setting with the VAE."""

    title = "AE"

    def __init__(self, latent_dim: int = 128, data_variance: float = 1.0):
        super().__init__()
        self.data_variance = data_variance
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(IMAGE_SHAPE), latent_dim))
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, math.prod(IMAGE_SHAPE)), nn.Unflatten(1, IMAGE_SHAPE)
        )

    def bits(self, last: Mapping[Any, Any]) -> float:
        return 32.0 * self.encoder[1].out_features

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        x = scale(x) if x.dtype == torch.uint8 else x
        return {"loss": (self.decoder(self.encoder(x)) - x).square().mean() / self.data_variance}

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x)).float().clamp(0, 1)


@pytest.fixture
def autoencoder(monkeypatch: pytest.MonkeyPatch) -> str:
    """Add a third model, and return its name."""
    monkeypatch.setitem(models.MODELS, "plain", Autoencoder)
    return "plain"


@pytest.fixture
def mine(small_runs: dict[str, Run], tmp_path: Path) -> Study:
    """Return a finished study of two models with its summary, in a project of its own."""
    runs = [small_runs[model] for model in STUDIED]
    study = Study("mine", [run.config for run in runs], root=tmp_path)
    for run, folder in zip(runs, study.run_folders, strict=True):
        shutil.copytree(run.folder, folder)
    write_summary(study)
    return study


@pytest.fixture
def random_images() -> torch.Tensor:
    """Return float images (6, 3, 32, 32) in [0, 1]."""
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def summary() -> pd.DataFrame:
    """Return the summary of four full runs on CIFAR-10, with invented numbers."""
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


def invented_run(
    model: str,
    batch_size: int,
    history: pd.DataFrame | None = None,
    evaluation: dict[str, Any] | None = None,
    **settings: Any,
) -> Run:
    """Return what tables and findings ask of a run on CIFAR-10, with invented numbers."""
    run = Run(Path("invented"), TrainConfig(model=model, batch_size=batch_size, **settings))
    run.__dict__.update(history=history, evaluation=evaluation or {}, environment={})
    return run


@pytest.fixture
def audited() -> list[Run]:
    """Return runs whose SSIM fits the original report by one protocol of four.

    By `flat` both models fit, by `lax` both are too high, by `late` one VQ-VAE is too low, and by
    `Wang et al.` both are.
    """
    protocols = ("Wang et al.", "flat", "lax", "late")
    scores = {
        ("vae", 16): (0.42, 0.80, 0.99, 0.78),
        ("vae", 256): (0.40, 0.78, 0.99, 0.78),
        ("vqvae", 16): (0.86, 0.97, 1.0, 0.97),
        ("vqvae", 256): (0.84, 0.961, 1.0, 0.95),
    }
    return [
        invented_run(*key, evaluation={"ssim_by_protocol": dict(zip(protocols, each, strict=True))})
        for key, each in scores.items()
    ]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the project without runs of a preset, in a folder with a space in it."""
    return copy_project(tmp_path / "a project")


def copy_project(folder: Path) -> Path:
    """Copy what a study needs to a new folder, and return the folder."""
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    return folder
