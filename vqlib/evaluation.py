"""How well a model reconstructs: error, PSNR, SSIM, and the use of the codebook."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vqlib.errors import UserError
from vqlib.images import check_images, scale
from vqlib.models import BATCH, ImageModel, reconstruct_all
from vqlib.quantizer import codebook_use, count_codes
from vqlib.similarity import check_pair, ssim_by_protocol


@dataclass(frozen=True)
class Reconstructed:
    """Test images and what a model made of them: what every metric is computed from.

    Attributes:
        x: originals, float32 (N, 3, 32, 32) in [0, 1].
        y: reconstructions, of the same shape and range.
        usage: how often each code occurs in all images, (num_codes,); empty without codes.
        data_variance: variance of the training pixels in [0, 1].
    """

    x: Tensor
    y: Tensor
    usage: Tensor
    data_variance: float

    @cached_property
    def mse(self) -> float:
        """Mean squared error over all pixels."""
        pairs = zip(self.x.split(BATCH), self.y.split(BATCH), strict=True)
        return sum((a.double() - b).square().sum().item() for a, b in pairs) / self.x.numel()

    @cached_property
    def ssim_by_protocol(self) -> dict[str, float | None]:
        """Mean SSIM by each of `similarity.PROTOCOLS`."""
        return ssim_by_protocol(self.x, self.y)


@dataclass(frozen=True)
class Metric:
    """A figure of merit over test images.

    Attributes:
        heading: its name in tables and on axes, with its unit; empty keeps it out of tables.
        decimals: how many to show.
        compute: gives its value, or None if the model has no such figure.
    """

    heading: str
    decimals: int
    compute: Callable[[Reconstructed], float | None]


METRICS: dict[str, Metric] = {
    "test_mse": Metric("", 5, lambda r: r.mse),
    "test_nmse": Metric("NMSE", 4, lambda r: r.mse / r.data_variance),
    "test_psnr": Metric("PSNR (dB)", 2, lambda r: -10 * math.log10(r.mse) if r.mse else math.inf),
    "test_ssim": Metric("SSIM", 4, lambda r: r.ssim_by_protocol["Wang et al."]),
    "perplexity": Metric("Perplexity", 0, lambda r: codebook_use(r.usage)["perplexity"]),
    "codes_used": Metric("", 0, lambda r: codebook_use(r.usage)["codes_used"]),
}


def evaluate(model: ImageModel, images: Tensor, data_variance: float) -> dict[str, Any]:
    """Compute every metric over test images, in float32.

    Args:
        model: has `codes`, `num_codes`, `decode_codes` and `reconstruct`; see `ImageModel`.
        images: uint8 (N, 3, 32, 32).
        data_variance: variance of the training pixels in [0, 1]; above 0.

    Returns:
        `n_test`; `test_mse`, the mean over all pixels of images in [0, 1]; `test_nmse` =
        test_mse / data_variance; `test_psnr` = -10 log10(test_mse), in dB; `test_ssim`, the mean
        of Wang et al.'s SSIM per image; `perplexity` of the codes over all images and
        `codes_used`, both None without a codebook; `ssim_by_protocol`, see there.

    Raises:
        UserError: if the images have another type or shape, data_variance is not a finite number
            above 0, or reconstructions have another shape, are not finite, or lie outside [0, 1].
    """
    check_images(images, "test")
    if not 0 < data_variance < math.inf:
        raise UserError(f"data_variance must be a finite number above 0, got {data_variance}")
    reconstructed = _reconstruct(model, images, data_variance)
    figures = {name: metric.compute(reconstructed) for name, metric in METRICS.items()}
    return {
        "n_test": len(images),
        **figures,
        "ssim_by_protocol": reconstructed.ssim_by_protocol,
    }


def _reconstruct(model: ImageModel, images: Tensor, data_variance: float) -> Reconstructed:
    reconstructions, counts = torch.empty(images.shape), []
    parts = reconstructions.split(BATCH)
    for part, (x, y, codes) in zip(parts, reconstruct_all(model, images), strict=True):
        check_pair(x, y, 1.0)
        part.copy_(y)
        if codes is not None:
            counts.append(count_codes(codes, model.num_codes).cpu())
    usage = torch.stack(counts).sum(0) if counts else torch.zeros(0, dtype=torch.int64)
    return Reconstructed(scale(images), reconstructions, usage, data_variance)
