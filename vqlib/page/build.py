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

from vqlib.config import TrainConfig
from vqlib.errors import UserError
from vqlib.evaluation import METRICS
from vqlib.explore import code_paints
from vqlib.figures import model_style
from vqlib.generation.config import PriorConfig
from vqlib.generation.runs import Prior
from vqlib.generation.transformer import HEAD, Transformer
from vqlib.models import VAE, VQVAE, SpatialVAE
from vqlib.report.words import data_title
from vqlib.runs import WEIGHTS, Run
from vqlib.system.files import read_bytes, write_atomically

PARTS = Path(__file__).parent
NETWORK = ("tensors.js", "layers.js", "models.js", "transformer.js", "worker.js")  # in a worker
PAGE = (
    *("pictures.js", "remote.js", "random.js", "brush.js", "swatches.js"),
    *("sampler.js", "panels.js", "explorer.js"),
)
DRAWN = (VAE, VQVAE, SpatialVAE)  # what models.js can build
UNUSED = 0.01  # of an equal share; a code that is used less is marked


def write_page(runs: Sequence[Run | Prior], path: Path) -> None:
    """Write the explorer of some runs to an HTML file.

    Args:
        runs: of models of images, and of priors over the codes of those; in any order.
        path: the file.

    Raises:
        UserError: if a run has no weights, is damaged or has a model that the page does not know,
            a prior's VQ-VAE is not among the runs, or the file cannot be written.
    """
    if not path.parent.is_dir():
        raise UserError(
            f"{path} cannot be written: there is no folder {path.parent}, so make it first"
        )
    write_atomically(path, explorer_page(runs).encode())


def explorer_page(runs: Sequence[Run | Prior]) -> str:
    """Return the explorer of some runs as HTML, with weights and images inside; see `write_page`.

    The images are those of the runs' sheets, each once.
    """
    shown = [run for run in runs if isinstance(run, Run)]
    priors = _by_weights([run for run in runs if isinstance(run, Prior)], shown)
    described = [
        _described(run, label) | {"priors": priors.get(_weights_of(run), [])}
        for run, label in zip(shown, _labels(shown), strict=True)
    ]
    images = _distinct_images(shown)
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
            **_training(run.config, run.config.dataset),
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


def _by_weights(priors: Sequence[Prior], runs: Sequence[Run]) -> dict[str, list[dict[str, Any]]]:
    """Return what the page needs of priors, by the checksum of their VQ-VAE's weights."""
    found = defaultdict(list)
    for prior, label in zip(priors, _labels(priors), strict=True):
        if prior.config.weights not in map(_weights_of, runs):
            raise UserError(
                f"{prior.folder} is a prior over the codes of {prior.config.vqvae} with weights "
                f"{prior.config.weights[:8]}…, which no other run here has: give this VQ-VAE, too"
            )
        found[prior.config.weights].append(_described_prior(prior, label))
    return found


def _described_prior(prior: Prior, label: str) -> dict[str, Any]:
    if not isinstance(prior.model, Transformer):
        raise UserError(
            f"{prior.folder} is a {prior.model.title}, from which the explorer cannot sample: give "
            f"a {Transformer.title}"
        )
    return {
        "label": label,
        "name": prior.folder.name,
        "classes": prior.classes,
        "head": HEAD,
        "facts": {
            **_training(prior.config, prior.environment["dataset"]),
            "Bits per image": f"{prior.bits_per_image:,.0f}",
        },
        "weights": _packed(read_bytes(prior.folder / WEIGHTS)),
    }


def _training(config: TrainConfig | PriorConfig, dataset: str) -> dict[str, str]:
    return {
        "Images": data_title(dataset).strip("`"),
        "Batch size": f"{config.batch_size:,}",
        "Epochs": f"{config.epochs:,}",
    }


def _weights_of(run: Run) -> str:
    return run.environment["sha256"][WEIGHTS]


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


def _labels(runs: Sequence[Run] | Sequence[Prior]) -> list[str]:
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
