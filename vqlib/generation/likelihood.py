"""Bits per dimension: what it takes to send pixels exactly, given what a model decodes.

A decoder gives a mean for each pixel. A distribution around it gives each of the 256 grey levels a
probability: a Gaussian or a logistic distribution, of which each level gets the part within half a
level of it; 0 and 255 get the tails too (Salimans et al. 2017, https://arxiv.org/abs/1701.05517).

Its scale is fitted to training images by maximum likelihood. It may be one for all pixels, one for
each colour channel, or one for each of 16 levels of contrast: whoever decodes an image can see how
much the decoded image varies around a pixel.

Decoded means are rounded to sixteenths of a grey level. That is part of the model, so nothing here
is approximated: a table has the probability of each level at each possible difference.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.stats
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

FAMILIES = {"Gaussian": scipy.stats.norm, "logistic": scipy.stats.logistic}
GROUPS = ("all", "channel", "contrast")  # of pixels that share a scale
STEPS = 16  # in a grey level: decoded means are multiples of its inverse
MOST = 255 * STEPS  # the largest difference between a pixel and its mean
CONTRASTS = 16
EDGES = 0.5 * 2 ** (torch.arange(1, CONTRASTS) / 2)  # between levels of contrast, in grey levels
SCALES = (0.05, 500.0)  # grey levels; what a fit looks at


@dataclass(frozen=True)
class PixelDistribution:
    """The distribution of pixels around what a model decodes.

    Attributes:
        family: one of `FAMILIES`.
        groups: one of `GROUPS`.
        scales: of each group, in grey levels.
    """

    family: str
    groups: str
    scales: tuple[float, ...]

    @cached_property
    def table(self) -> Tensor:
        """Bits of a pixel, float32 (groups · 3 · (2 · MOST + 1),); see `residuals`."""
        rows = [level_bits(self.family, scale) for scale in self.scales]
        return torch.from_numpy(np.stack(rows)).float().flatten()

    def bits(self, images: Tensor, decoded: Tensor) -> Tensor:
        """Return the bits that each image takes, float64 (N,).

        Args:
            images: uint8 (N, 3, H, W).
            decoded: float32 (N, 3, H, W) in [0, 1].
        """
        return self.table[residuals(images, decoded, self.groups)].double().flatten(1).sum(1)


def residuals(images: Tensor, decoded: Tensor, groups: str = "all") -> Tensor:
    """Return for each pixel what its probability depends on, as one number: int64 (N, 3, H, W).

    The number is (group · 3 + kind) · (2 · MOST + 1) + MOST + difference. The kind is 0 for a pixel
    of 0, 2 for one of 255, and 1 for others. The difference from the mean is in sixteenths.

    Args:
        images: uint8 (N, 3, H, W).
        decoded: float32 (N, 3, H, W) in [0, 1].
        groups: one of `GROUPS`.
    """
    levels = images.int()
    means = (decoded * MOST).round_().int()
    kind = 1 + (levels == 255).int() - (levels == 0).int()
    cell = (_group(decoded, groups) * 3 + kind) * (2 * MOST + 1)
    return (cell + MOST + levels * STEPS - means).long()


def contrast(decoded: Tensor) -> Tensor:
    """Return the standard deviation of grey values in 5×5 pixels around each: (N, 1, H, W).

    Args:
        decoded: float32 (N, 3, H, W) in [0, 1]; the result is in grey levels.
    """
    grey = 255 * decoded.mean(1, keepdim=True)
    padded = F.pad(grey - 127.5, (2, 2, 2, 2), "replicate")
    mean, square = F.avg_pool2d(padded, 5, 1), F.avg_pool2d(padded.square(), 5, 1)
    return (square - mean.square()).clamp(min=0).sqrt()


def level_bits(family: str, scale: float) -> np.ndarray:
    """Return -log2 of a pixel's probability by kind and difference, (3, 2 · MOST + 1).

    Both families are symmetric, so the part between two differences is computed in the lower tail,
    where no digits are lost.

    Args:
        family: one of `FAMILIES`.
        scale: of the distribution, in grey levels.
    """
    below = FAMILIES[family].logcdf
    difference = np.arange(-MOST, MOST + 1) / STEPS
    upper, lower = (below((side - np.abs(difference)) / scale) for side in (0.5, -0.5))
    within = upper + np.log1p(-np.exp(lower - upper))
    tails = below((0.5 + difference) / scale), below((0.5 - difference) / scale)
    return -np.stack([tails[0], within, tails[1]]) / np.log(2)


def fit_pixels(
    pairs: Iterable[tuple[Tensor, Tensor]], family: str = "Gaussian", groups: str = "all"
) -> PixelDistribution:
    """Fit the scales of a distribution by maximum likelihood.

    Args:
        pairs: batches of images and of what a model decoded; see `residuals`.
        family: one of `FAMILIES`.
        groups: one of `GROUPS`. A group without pixels gets the scale of all.
    """
    counts = count_residuals(pairs, groups)
    together = _fit(counts.sum(0), family)
    scales = (_fit(each, family) if each.any() else together for each in counts)
    return PixelDistribution(family, groups, tuple(scales))


def count_residuals(pairs: Iterable[tuple[Tensor, Tensor]], groups: str) -> np.ndarray:
    """Return how often each number of `residuals` occurs: (groups, 3, 2 · MOST + 1)."""
    sizes = {"all": 1, "channel": 3, "contrast": CONTRASTS}[groups], 3, 2 * MOST + 1
    counts = torch.zeros(sizes, dtype=torch.int64)
    for images, decoded in pairs:
        numbers = residuals(images, decoded, groups).flatten()
        counts += torch.bincount(numbers, minlength=counts.numel()).view(sizes)
    return counts.numpy()


def _fit(counts: np.ndarray, family: str) -> float:
    """Return the scale at which counted residuals (3, 2 · MOST + 1) are likeliest."""
    there = counts > 0

    def bits(log_scale: float) -> float:
        return float((counts[there] * level_bits(family, np.exp(log_scale))[there]).sum())

    found = minimize_scalar(bits, bounds=np.log(SCALES), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def _group(decoded: Tensor, groups: str) -> Tensor:
    """Return the group of each pixel, int32, of a shape that broadcasts to (N, 3, H, W)."""
    if groups == "channel":
        return torch.arange(3, dtype=torch.int32)[:, None, None]
    if groups == "contrast":
        return torch.bucketize(contrast(decoded), EDGES).int()
    return torch.zeros(1, dtype=torch.int32)
