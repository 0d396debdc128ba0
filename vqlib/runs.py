"""Run folders: everything that a training run leaves on disk, written atomically.

config.json            what defines the run
environment.json       what it ran on: versions, device, threads, data, git commit
history.csv            a row an epoch
weights.safetensors    the trained model, in float16
evaluation.json        figures over the test images, of those very weights
reconstructions.png    test images over their reconstructions, pixel by pixel
resume.pt, progress.json, .lock, .holder   only while the run is under way
"""

import hashlib
import json
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from vqlib.config import ALWAYS_NAMED, TrainConfig
from vqlib.errors import UserError
from vqlib.models import VAE, VQVAE
from vqlib.paths import ROOT
from vqlib.system.files import read_json, write_atomically, write_json

WEIGHTS = "weights.safetensors"
FINISHED = ("config.json", "environment.json", "history.csv", "evaluation.json")
FORMAT = 1  # of run folders; a later version of vqlib that writes other ones counts it up
SUMMED = ("config.json", WEIGHTS, "reconstructions.png", "history.csv", "evaluation.json")
HISTORY = ("epoch", "steps", "seconds", "loss", "reconstruction", "test_nmse")
ANEW = "Delete the run's folder to have it trained again."
COLLAPSED = 2  # a perplexity below it: hardly more than one code is in use
PACKAGES = ("torchvision", "numpy", "scikit-image", "pandas")


@dataclass(frozen=True)
class Run:
    """A finished run, as its folder holds it."""

    folder: Path
    config: TrainConfig

    @cached_property
    def model(self) -> nn.Module:
        """The trained model in evaluation mode, float32 on the CPU."""
        model = build_model(self.config, self.data_variance)
        path = self.folder / WEIGHTS
        if not has_weights(self.folder):
            raise UserError(f"{path} is not there: `vqlib train` makes the run with its weights")
        try:
            weights = load(self._content(path.name))
        except (RuntimeError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read: {_one_line(error)}") from None
        check_weights(path, model, weights)
        model.load_state_dict(weights)
        return model.eval()

    @property
    def data_variance(self) -> float:
        """Variance of the training pixels."""
        value = self.environment.get("data_variance")
        if not isinstance(value, float) or not 0 < value < 1:
            path = self.folder / "environment.json"
            raise UserError(f"{path} is damaged: data_variance is {value!r}, not between 0 and 1")
        return value

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row an epoch: epoch, steps, seconds, the model's loss terms, test_nmse, perplexity."""
        path = self.folder / "history.csv"
        content = self._content(path.name)
        try:
            history = pd.read_csv(BytesIO(content))
            numbers = history[list(HISTORY)].to_numpy(float)
        except (KeyError, ValueError) as error:  # pandas' own are ValueErrors
            raise UserError(f"{path} cannot be read: {_one_line(error)}") from None
        if list(history["epoch"]) != list(range(1, self.config.epochs + 1)):
            raise UserError(f"{path} is damaged: its epochs are not 1 to {self.config.epochs}")
        if not np.isfinite(numbers).all():
            raise UserError(f"{path} is damaged: not all of its losses are numbers")
        return history

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """What `evaluate` gave for the stored weights."""
        self._content("evaluation.json")  # compares the checksum
        return read_json(self.folder / "evaluation.json")

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, device, threads, precision, data and git commit of the run."""
        path = self.folder / "environment.json"
        said = read_json(path)
        check_format(path, said)
        if said.pop("seal", None) != _seal(said):
            raise UserError(f"{path} is damaged: its checksum is not the one in it. {ANEW}")
        return said

    @cached_property
    def reconstructions(self) -> tuple[Tensor, Tensor]:
        """The sheet's originals and reconstructions, each uint8 (N, 3, 32, 32)."""
        path = self.folder / "reconstructions.png"
        content = self._content(path.name)
        try:
            sheet = np.array(Image.open(BytesIO(content)))  # (64, 32·N, 3)
            tiles = torch.from_numpy(sheet).unflatten(0, (2, 32)).unflatten(2, (-1, 32))
        except Exception as error:  # Pillow raises almost anything where a picture is damaged
            raise UserError(f"{path} cannot be read: {_one_line(error)}") from None
        originals, reconstructions = tiles.permute(0, 2, 4, 1, 3)
        return originals, reconstructions

    def _content(self, name: str) -> bytes:
        """A file of the folder, compared with the checksum that the run has for it."""
        path = self.folder / name
        content = _read_bytes(path)
        if self.environment["sha256"][name] != checksum(content):
            raise UserError(
                f"{path} is damaged: its checksum is not the one in environment.json. {ANEW}"
            )
        return content


def load_run(path: str | Path) -> Run:
    """The finished run in the folder `path`; its `model`, `history`, `evaluation` are attributes.

    Raises:
        UserError: where the folder does not hold a finished run.
    """
    folder = Path(path)
    missing = [name for name in FINISHED if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} is not a finished run: {', '.join(missing)} missing")
    run = Run(folder, read_config(folder))
    run._content("config.json")  # compares the checksum
    return run


def find_runs(folder: str | Path) -> list[Run]:
    """The finished runs in a folder of run folders, by model, then batch size, then seed."""
    runs = [load_run(path) for path in sorted(Path(folder).glob("*")) if is_finished(path)]
    return sorted(runs, key=lambda r: (r.config.model, r.config.batch_size, r.config.seed))


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a finished run; its environment is written last."""
    return all((folder / name).is_file() for name in FINISHED)


def has_weights(folder: Path) -> bool:
    """Whether a run folder has its weights: the project ships them for the first seed only."""
    return (folder / WEIGHTS).is_file()


def read_config(folder: Path) -> TrainConfig:
    """The config of a run folder."""
    path = folder / "config.json"
    values = read_json(path)
    if missing := [name for name in ALWAYS_NAMED if name not in values]:
        raise UserError(f"{path} is damaged: {', '.join(missing)} missing")
    try:
        return TrainConfig.from_dict(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def collapse_warning(config: TrainConfig, history: pd.DataFrame) -> str | None:
    """A line that names the epochs in which the codebook collapsed; None where there are none."""
    if "collapsed" not in history:  # the first runs did not say
        return None
    epochs = history["epoch"][history["collapsed"].eq(True)]
    if epochs.empty:
        return None
    return (
        f"WARNING: {config.run_name}: the codebook collapsed, perplexity was below {COLLAPSED} on "
        f"the test images in epoch {', '.join(map(str, epochs))}: try more epochs, another seed "
        "or a lower learning rate"
    )


def check_format(path: Path, content: Mapping[str, Any]) -> None:
    """Refuses what a later version of vqlib wrote, with the formats of both."""
    found = content.get("format", FORMAT)
    if found != FORMAT:
        raise UserError(
            f"{path} has format {found}, and this version of vqlib reads {FORMAT}: "
            "use the version that wrote it"
        )


def check_weights(path: Path, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Refuses weights that are not the model's, with what differs, or that are not finite."""
    wanted = model.state_dict()
    differences = [
        *(f"{name} is missing" for name in wanted if name not in weights),
        *(f"{name} is unknown" for name in weights if name not in wanted),
        *(
            f"{name} is {_shape(weights[name])} and not {_shape(value)}"
            for name, value in wanted.items()
            if name in weights and weights[name].shape != value.shape
        ),
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise UserError(f"{path} does not fit its config: {', '.join(differences[:3])}{more}")
    for name, value in weights.items():
        if not value.isfinite().all():
            raise UserError(f"{path} is damaged: {name} holds values that are not finite")


def _shape(weight: Tensor) -> str:
    return "×".join(map(str, weight.shape)) or "a number"


def build_model(config: TrainConfig, data_variance: float) -> nn.Module:
    """A fresh model as the config says; `data_variance` is that of the training pixels."""
    with torch.random.fork_rng([]):
        return _build_model(config, data_variance)


def _build_model(config: TrainConfig, data_variance: float) -> nn.Module:
    if config.model == "vae":
        return VAE(config.latent_dim, config.beta)
    return VQVAE(
        config.num_hiddens,
        config.num_residual_hiddens,
        config.num_residual_layers,
        config.num_embeddings,
        config.embedding_dim,
        config.commitment_cost,
        config.decay,
        data_variance,
        config.codebook_init,
    )


def environment() -> dict[str, Any]:
    """What this process runs on: versions, processor, threads and git commit."""
    return {
        "format": FORMAT,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "git_commit": _git_commit(),
    }


def stored_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights as a run stores them: float16, but for the codebook's running averages."""
    stored = {
        name: (value if ".ema_" in name else value.half()).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    for name, value in stored.items():
        if not value.isfinite().all():
            raise UserError(
                f"{name} is beyond float16, so it cannot be stored: try a lower learning rate"
            )
    return stored


def write_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Writes a safetensors file atomically."""
    write_atomically(path, save(weights))


def write_sheet(path: Path, originals: Tensor, reconstructions: Tensor) -> None:
    """Writes images (N, 3, 32, 32) in [0, 1] over their reconstructions as an exact PNG."""
    tiles = (torch.stack([originals, reconstructions]) * 255).round().byte().cpu()
    sheet = tiles.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)  # (64, 32·N, 3)
    buffer = BytesIO()
    Image.fromarray(sheet.numpy()).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def write_environment(folder: Path, environment: Mapping[str, Any]) -> None:
    """Writes environment.json with the checksums of the run's other files, and its own.

    It is written last: with it the run is a finished one.
    """
    sums = {name: checksum((folder / name).read_bytes()) for name in SUMMED}
    summed = {**environment, "sha256": sums}
    write_json(folder / "environment.json", {**summed, "seal": _seal(summed)})


def _seal(environment: Mapping[str, Any]) -> str:
    return checksum(json.dumps(environment, sort_keys=True).encode())


def checksum(content: bytes) -> str:
    """The SHA-256 that environment.json holds for each of a run's files."""
    return hashlib.sha256(content).hexdigest()


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Writes a resume state and its checksum; the state before it is kept as `.previous`."""
    buffer = BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_atomically(path, hashlib.sha256(content).digest() + content, _previous(path))


def read_state(path: Path) -> dict[str, Any] | None:
    """The newest undamaged resume state, or None where there is none.

    A damaged one is named and removed, so that it never takes the place of a good one.

    Raises:
        UserError: where a state holds anything but tensors, numbers and text; it is not executed.
    """
    for candidate in (path, _previous(path)):
        if not candidate.exists():
            continue
        content = _read_bytes(candidate)
        if hashlib.sha256(content[32:]).digest() == content[:32]:
            return _load_state(candidate, content[32:])
        print(f"{candidate} is damaged (its checksum does not fit): removed, not used")
        candidate.unlink()
    return None


def _load_state(path: Path, content: bytes) -> dict[str, Any]:
    try:
        state = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # torch raises several kinds
        state = None
    if not isinstance(state, dict):
        raise UserError(f"{path} is no resume state of vqlib: delete it to train this run anew")
    return state


def remove_state(path: Path) -> None:
    """Removes a resume state and the one before it."""
    for candidate in (path, _previous(path)):
        candidate.unlink(missing_ok=True)


def _previous(path: Path) -> Path:
    return path.with_suffix(".previous")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _git_commit() -> str:
    if shutil.which("git") is None:
        return "unknown"
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"
