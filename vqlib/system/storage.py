"""Writing a finished run: weights, history, figures, pictures, and checksums of them."""

import hashlib
import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn

from vqlib.errors import UserError
from vqlib.system.checkpoint import FORMAT
from vqlib.system.files import write_atomically, write_json

WEIGHTS = "weights.safetensors"
SUMMED = ("config.json", WEIGHTS, "reconstructions.png", "history.csv", "evaluation.json")


def stored_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights as a run stores them: float16, but for the codebook's moving averages."""
    stored = {
        name: (value if ".ema_" in name else value.half()).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    for name, value in stored.items():
        if not value.isfinite().all():
            raise UserError(
                f"{name} is too large for float16 and cannot be stored: try a lower learning rate"
            )
    return stored


def store(
    folder: Path,
    weights: dict[str, Tensor],
    history: list[dict[str, Any]],
    evaluation: dict[str, Any],
    sheet: tuple[Tensor, Tensor] | None,
    environment: Mapping[str, Any],
) -> None:
    """Write what a finished run consists of, beyond its config.

    Args:
        folder: the run's; it holds config.json already.
        weights: as `stored_weights` gives them.
        history: one row per epoch.
        evaluation: figures over the test data.
        sheet: images (N, 3, 32, 32) in [0, 1] and their reconstructions, if the model has any.
        environment: what the run was trained on; it gets the checksums of the other files, and is
            written last.
    """
    write_atomically(folder / WEIGHTS, save(weights))
    if sheet is not None:
        write_sheet(folder / "reconstructions.png", *sheet)
    write_history(folder, history)
    write_json(folder / "evaluation.json", evaluation)
    write_environment(folder, environment)


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write history.csv: one row per epoch."""
    write_atomically(folder / "history.csv", pd.DataFrame(history).to_csv(index=False).encode())


def write_sheet(path: Path, originals: Tensor, reconstructions: Tensor) -> None:
    """Write images (N, 3, 32, 32) in [0, 1] above their reconstructions as an exact PNG."""
    tiles = (torch.stack([originals, reconstructions]) * 255).round().byte().cpu()
    write_png(path, tiles.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2))  # (64, 32·N, 3)


def write_png(path: Path, pixels: Tensor) -> None:
    """Write a picture, uint8 (H, W, 3), as a PNG file."""
    buffer = BytesIO()
    Image.fromarray(pixels.numpy()).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def write_environment(folder: Path, environment: Mapping[str, Any]) -> None:
    """Write environment.json with the checksums of the run's other files, and its own.

    It is written last: with it, the run is finished.
    """
    there = [name for name in SUMMED if (folder / name).is_file()]
    sums = {name: checksum((folder / name).read_bytes()) for name in there}
    summed = {"format": FORMAT, **environment, "sha256": sums}
    write_json(folder / "environment.json", {**summed, "seal": seal(summed)})


def checksum(content: bytes) -> str:
    """Return the SHA-256 that environment.json holds for each of a run's files."""
    return hashlib.sha256(content).hexdigest()


def seal(environment: Mapping[str, Any]) -> str:
    """Return the checksum of a run's environment itself, without this checksum."""
    return checksum(json.dumps(environment, sort_keys=True).encode())
