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
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from vqlib.config import TrainConfig
from vqlib.errors import UserError
from vqlib.models import VAE, VQVAE
from vqlib.paths import ROOT

FINISHED = (
    *("config.json", "environment.json", "history.csv"),
    *("weights.safetensors", "evaluation.json"),
)
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
        path = self.folder / "weights.safetensors"
        try:
            model.load_state_dict(load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{path} does not fit its config: {_one_line(error)}") from None
        return model.eval()

    @property
    def data_variance(self) -> float:
        """Variance of the training pixels."""
        try:
            return float(self.environment["data_variance"])
        except (KeyError, TypeError, ValueError):
            path = self.folder / "environment.json"
            raise UserError(f"{path} is damaged: no number data_variance") from None

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row an epoch: epoch, steps, seconds, the model's loss terms, test_nmse, perplexity."""
        path = self.folder / "history.csv"
        try:
            return pd.read_csv(path)
        except (OSError, ValueError) as error:  # pandas' errors are ValueErrors
            raise UserError(f"{path} cannot be read: {_one_line(error)}") from None

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """What `evaluate` gave for the stored weights."""
        return read_json(self.folder / "evaluation.json")

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, device, threads, precision, data and git commit of the run."""
        return read_json(self.folder / "environment.json")

    @cached_property
    def reconstructions(self) -> tuple[Tensor, Tensor]:
        """The sheet's originals and reconstructions, each uint8 (N, 3, 32, 32)."""
        path = self.folder / "reconstructions.png"
        try:
            sheet = np.array(Image.open(path))  # (64, 32·N, 3)
            tiles = torch.from_numpy(sheet).unflatten(0, (2, 32)).unflatten(2, (-1, 32))
        except Exception as error:  # Pillow raises almost anything where a picture is damaged
            raise UserError(f"{path} cannot be read: {_one_line(error)}") from None
        originals, reconstructions = tiles.permute(0, 2, 4, 1, 3)
        return originals, reconstructions


def load_run(path: str | Path) -> Run:
    """The finished run in the folder `path`; its `model`, `history`, `evaluation` are attributes.

    Raises:
        UserError: where the folder does not hold a finished run.
    """
    folder = Path(path)
    missing = [name for name in FINISHED if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} is not a finished run: {', '.join(missing)} missing")
    return Run(folder, read_config(folder))


def find_runs(folder: str | Path) -> list[Run]:
    """The finished runs in a folder of run folders, by model, then batch size, then seed."""
    runs = [load_run(path) for path in sorted(Path(folder).glob("*")) if is_finished(path)]
    return sorted(runs, key=lambda r: (r.config.model, r.config.batch_size, r.config.seed))


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a finished run; its evaluation is written last."""
    return all((folder / name).is_file() for name in FINISHED)


def read_config(folder: Path) -> TrainConfig:
    """The config of a run folder."""
    path = folder / "config.json"
    values = read_json(path)
    try:
        return TrainConfig.from_dict(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


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
    )


def environment() -> dict[str, Any]:
    """What this process runs on: versions, processor, threads and git commit."""
    return {
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
    return {
        name: (value if ".ema_" in name else value.half()).contiguous().cpu()
        for name, value in model.state_dict().items()
    }


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


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's content; a damaged one is a `UserError`."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} cannot be read: it holds no JSON object")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file atomically."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Writes aside, then renames: a reader finds the old file or the new one, never a part."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Holds a folder for this process; the system lets go of it when the process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        holder = _read_holder(folder)
        message = f"{folder} is being written by another process{holder}: wait for it, or stop it"
        raise UserError(message) from None
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    holder = folder / ".holder"
    try:
        write_json(holder, {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Writes a resume state and its checksum; the state before it is kept as `.previous`."""
    buffer = BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    if path.exists():
        os.replace(path, _previous(path))
    write_atomically(path, hashlib.sha256(content).digest() + content)


def read_state(path: Path) -> dict[str, Any] | None:
    """The newest undamaged resume state, or None where there is none; says what it passed over."""
    for candidate in (path, _previous(path)):
        if not candidate.exists():
            continue
        content = candidate.read_bytes()
        if hashlib.sha256(content[32:]).digest() == content[:32]:
            return torch.load(BytesIO(content[32:]), weights_only=True)
        print(f"{candidate} is damaged (its checksum does not fit): not used")
    return None


def remove_state(path: Path) -> None:
    """Removes a resume state and the one before it."""
    for candidate in (path, _previous(path)):
        candidate.unlink(missing_ok=True)


def _previous(path: Path) -> Path:
    return path.with_suffix(".previous")


def _read_holder(folder: Path) -> str:
    try:
        holder = read_json(folder / ".holder")
        return f" (pid {holder['pid']} on {holder['host']})"
    except (UserError, KeyError):  # it has just taken the lock, or let go of it
        return ""


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
