"""Distortion: how far decoded images are from the originals, in the measures of this study."""

import torch
from torch import Tensor

from vqlib.images import scale
from vqlib.models import BATCH
from vqlib.similarity import ssim

MEASURES = ("nmse", "psnr", "mean_psnr", "ssim")
DRAWN = 16  # test images to draw, as many as in the sheet of a run


def distortion(originals: Tensor, decoded: Tensor, data_variance: float) -> dict[str, float]:
    """Return the distortion of decoded images, whatever system decoded them.

    Args:
        originals: (N, 3, H, W), uint8 or float32 in [0, 1].
        decoded: of the same shape, uint8 or float32 in [0, 1].
        data_variance: variance of the training pixels in [0, 1].

    Returns:
        `nmse`, the mean squared error / data_variance; `psnr` of the mean squared error, and
        `mean_psnr`, the mean of each image's PSNR, both in dB (infinite if an image is exact);
        `ssim`, the mean of each image's SSIM (Wang et al.). The mean of PSNRs is never below the
        PSNR of the mean, because the logarithm is concave.
    """
    errors, scores = [], []
    for x, y in zip(originals.split(BATCH), decoded.split(BATCH), strict=True):
        x, y = _unit(x), _unit(y)
        scores.append(ssim(x, y))
        errors.append((x.double() - y.double()).square().flatten(1).mean(1))
    mse = torch.cat(errors)  # (N,)
    return {
        "nmse": mse.mean().item() / data_variance,
        "psnr": _psnr(mse.mean()).item(),
        "mean_psnr": _psnr(mse).mean().item(),
        "ssim": torch.cat(scores).mean().item(),
    }


def _psnr(mse: Tensor) -> Tensor:
    return -10 * torch.log10(mse)


def _unit(images: Tensor) -> Tensor:
    return scale(images) if images.dtype == torch.uint8 else images
