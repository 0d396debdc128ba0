"""Put runs, styles and scripts into one HTML file that needs no server and no network."""

import json
from base64 import b64encode
from collections import defaultdict
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqlib.errors import UserError
from vqlib.evaluation import METRICS
from vqlib.explore import code_paints
from vqlib.figures import model_style
from vqlib.models import VAE, VQVAE, SpatialVAE
from vqlib.report.words import data_title
from vqlib.runs import WEIGHTS, Run
from vqlib.system.files import read_bytes, write_atomically

PARTS = Path(__file__).parent
NETWORK = ("tensors.js", "layers.js", "models.js", "worker.js")  # runs in a worker
PAGE = ("pictures.js", "remote.js", "brush.js", "swatches.js", "panels.js", "explorer.js")
DRAWN = (VAE, VQVAE, SpatialVAE)  # what models.js can build
UNUSED = 0.01  # of an equal share; a code that is used less is marked


def write_page(runs: Sequence[Run], path: Path) -> None:
    """Write the explorer of some runs to an HTML file.

    Raises:
        UserError: if a run has no weights, is damaged or has a model that the page does not know,
            or the file cannot be written.
    """
    if not path.parent.is_dir():
        raise UserError(
            f"{path} cannot be written: there is no folder {path.parent}, so make it first"
        )
    write_atomically(path, explorer_page(runs).encode())


def explorer_page(runs: Sequence[Run]) -> str:
    """Return the explorer of some runs as HTML, with weights and images inside.

    The images are those of the runs' sheets, each once.
    """
    described = [_described(run, label) for run, label in zip(runs, _labels(runs), strict=True)]
    images = _distinct_images(runs)
    content = {"size": images.shape[-1], "images": _packed(_png(images)), "runs": described}
    parts = {
        "STYLE": _read("style.css"),
        "NETWORK": "\n".join(map(_read, NETWORK)),
        "PAGE": "\n".join(map(_read, PAGE)),
        "CONTENT": json.dumps(content).replace("<", "\\u003c"),  # no tag ends the script
    }
    page = _read("page.html")
    for name, text in parts.items():
        page = page.replace(f"/*{name}*/", text)
    return page


def _described(run: Run, label: str) -> dict[str, Any]:
    """Return what the page needs of a run."""
    if not isinstance(run.model, DRAWN):
        known = ", ".join(model.title for model in DRAWN)
        raise UserError(
            f"{run.folder} is a run of {run.config.model}, which the explorer cannot draw: give "
            f"runs of {known}"
        )
    measured = {METRICS[name]: run.evaluation.get(name) for name in METRICS}
    return {
        "label": label,
        "name": run.folder.name,
        "colour": model_style(run.config.model)["color"],
        "bits": run.bits,
        "variance": run.data_variance,
        "facts": {
            "Images": data_title(run.config.dataset).strip("`"),
            "Batch size": f"{run.config.batch_size:,}",
            "Epochs": f"{run.config.epochs:,}",
            "Bits per image": f"{run.bits:,.0f}",
            **{
                metric.heading: f"{value:.{metric.decimals}f}"
                for metric, value in measured.items()
                if metric.heading and value is not None
            },
        },
        "weights": _packed(read_bytes(run.folder / WEIGHTS)),
        "codes": _codes(run.model) if isinstance(run.model, VQVAE) else [],
    }


def _codes(model: VQVAE) -> list[dict[str, Any]]:
    """Return each code's colour, and whether training left it unused."""
    colours = (code_paints(model) * 255).round().int().tolist()
    unused = torch.zeros(model.num_codes, dtype=torch.bool)
    if model.quantizer.decay:
        counts = model.quantizer.ema_counts
        unused = counts < UNUSED * counts.mean()
    return [
        {"colour": "#{:02x}{:02x}{:02x}".format(*colour), "unused": is_unused}
        for colour, is_unused in zip(colours, unused.tolist(), strict=True)
    ]


def _labels(runs: Sequence[Run]) -> list[str]:
    """Return each run's title; runs of one title also get the settings in which they differ."""
    alike = defaultdict(list)
    for run in runs:
        alike[run.config.model].append(run.config.to_dict())
    labels = []
    for run in runs:
        others = alike[run.config.model]
        own = run.config.to_dict()
        differing = [
            f"{name.replace('_', ' ')} {value}"
            for name, value in own.items()
            if any(other[name] != value for other in others)
        ]
        labels.append(run.model.title + (f" ({', '.join(differing)})" if differing else ""))
    return labels


def _distinct_images(runs: Sequence[Run]) -> Tensor:
    """Return the images of the runs' sheets, uint8 (N, 3, S, S), in order, each once."""
    images = {image.numpy().tobytes(): image for run in runs for image in run.reconstructions[0]}
    return torch.stack(list(images.values()))


def _png(images: Tensor) -> bytes:
    """Return images (N, 3, S, S) side by side as a PNG."""
    content = BytesIO()
    Image.fromarray(np.concatenate(list(images.permute(0, 2, 3, 1).numpy()), 1)).save(
        content, "PNG"
    )
    return content.getvalue()


def _packed(content: bytes) -> str:
    return b64encode(content).decode()


def _read(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")
