"""PCA with a uniform quantizer, and the bound for a Gaussian source of the same covariance.

A linear transform code: PCA turns images into uncorrelated components, each component is rounded
to multiples of one step, and the whole numbers are coded with a table of probabilities for each
component. Axes and tables come from the training images. Encoder and decoder share them, so the
coded numbers are all that is sent: there is no header.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlib.images import Images
from vqlib.rates.measures import DRAWN, distortion

STEPS = (2.8, 2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.15)  # about 50 to 2,000 bits
CHUNK = 2000  # images at a time


@dataclass(frozen=True)
class PCA:
    """Principal axes of images: c = axesᵀ · (x − mean), and x = mean + axes · c.

    The second is exact for the images that the axes were fitted to.

    Attributes:
        mean: mean image, (D,).
        axes: orthonormal columns, one for each axis, (D, R). R is D, or the number of images if
            that is at most half of D: they have no variance along any other axis.
        variances: variance along each axis, largest first, (R,): eigenvalues of the covariance.
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray

    def transform(self, images: Tensor) -> np.ndarray:
        """Return the components of uint8 images (N, …): float32 (R, N)."""
        components = np.empty((len(self.variances), len(images)), np.float32)
        for start in range(0, len(images), CHUNK):
            x = _vectors(images[start : start + CHUNK])
            components[:, start : start + CHUNK] = self.axes.T @ (x - self.mean).T
        return components

    def reconstruct(self, components: np.ndarray) -> np.ndarray:
        """Return the pixels of components (R, N): float32 (N, D), cut to [0, 1]."""
        used = components.any(axis=1)  # with a large step most components are 0 in all images
        pixels = components[used].T @ self.axes[:, used].T.astype(np.float32)
        pixels += self.mean.astype(np.float32)
        return pixels.clip(0, 1, out=pixels)


def fit_pca(images: Tensor) -> PCA:
    """Return the principal axes of uint8 images (N, …), pixels in [0, 1], in float64."""
    dimensions = images[0].numel()
    if 2 * len(images) <= dimensions:
        return _fit_few(images)
    total, products = np.zeros(dimensions), np.zeros((dimensions, dimensions))
    for chunk in images.split(CHUNK):
        x = _vectors(chunk)
        total += x.sum(axis=0)
        products += x.T @ x
    mean = total / len(images)
    variances, axes = np.linalg.eigh(products / len(images) - np.outer(mean, mean))
    return PCA(mean, axes[:, ::-1].copy(), variances[::-1].clip(0))  # eigh gives the smallest first


def _fit_few(images: Tensor) -> PCA:
    """Return the principal axes of few images, without a covariance of all pixels."""
    x = _vectors(images)
    mean = x.mean(axis=0)
    _, lengths, axes = np.linalg.svd(x - mean, full_matrices=False)  # (N,), (N, D)
    return PCA(mean, axes.T, lengths**2 / len(x))


def quantize(components: np.ndarray, step: float) -> np.ndarray:
    """Return the nearest multiple of the step, as a whole number; n · step reconstructs it."""
    return np.rint(components / step).astype(np.int32)


@dataclass(frozen=True)
class Table:
    """Probabilities of one component's symbols, which are the whole numbers from `low` on.

    Attributes:
        low: the smallest symbol.
        probabilities: of low, low + 1, …, (K,).
    """

    low: int
    probabilities: np.ndarray

    def nearest(self, symbols: np.ndarray) -> np.ndarray:
        """Return the symbols; one outside the table becomes the table's first or last."""
        return symbols.clip(self.low, self.low + len(self.probabilities) - 1)

    def bits(self, symbols: np.ndarray) -> float:
        """Return the length of all the symbols in bits, −Σ log₂ p."""
        return -np.log2(self.probabilities[symbols - self.low]).sum()


def fit_table(symbols: np.ndarray) -> Table:
    """Return the table of a component from its symbols in the training images, (N,).

    It has every symbol from the smallest to the largest, p = (count + 1) / (N + K), so that gaps
    have a probability too. A component that is always 0 has one symbol, which costs nothing.
    """
    low = int(symbols.min())
    counts = np.bincount(symbols - low) + 1
    return Table(low, counts / counts.sum())


def fit_tables(components: np.ndarray, step: float) -> list[Table]:
    """Return a table for each component of the training images, (R, N)."""
    return [fit_table(quantize(component, step)) for component in components]


def encode(components: np.ndarray, step: float, tables: Sequence[Table]) -> np.ndarray:
    """Return the symbols that code the components of images, (R, N): int32 (R, N)."""
    rows = zip(tables, components, strict=True)
    return np.stack([table.nearest(quantize(component, step)) for table, component in rows])


def total_bits(symbols: np.ndarray, tables: Sequence[Table]) -> float:
    """Return the length of symbols (R, N) in bits, each component by its own table.

    From the tables of training images, it is a cross-entropy. An arithmetic coder comes within
    0.1% of it.
    """
    return sum(table.bits(component) for table, component in zip(tables, symbols, strict=True))


def pca_points(images: Images, pca: PCA, steps: Sequence[float] = STEPS) -> list[dict[str, Any]]:
    """Return rate, distortion and first `pictures` of the test images for each step."""
    components = pca.transform(images.train)
    tables_of = {step: fit_tables(components, step) for step in steps}
    components = pca.transform(images.test)  # those of the training images can go
    points = []
    for step, tables in tables_of.items():
        symbols = encode(components, step, tables)
        pixels = pca.reconstruct(symbols * np.float32(step))
        decoded = torch.from_numpy(pixels).unflatten(1, images.test.shape[1:])
        row = {"system": "PCA", "setting": f"step {step:g}", "rate": "coded"}
        bits = total_bits(symbols, tables) / len(images.test)
        measured = distortion(images.test, decoded, images.variance)
        pictures = (decoded[:DRAWN] * 255).round().byte()
        points.append({**row, "bits": bits, **measured, "pictures": pictures})
    return points


def water_filling(variances: np.ndarray, level: float) -> tuple[float, float]:
    """Return rate and distortion of a Gaussian source by reverse water-filling.

    A component whose variance is above the level keeps an error of the level, at ½ log₂ of their
    ratio; any other is not coded (Cover & Thomas, Elements of Information Theory, section 10.3.3).

    Args:
        variances: of the source's independent components, (D,).
        level: θ, above 0.

    Returns:
        R(θ) = Σ max(0, ½ log₂(λ / θ)) in bits, and D(θ) = Σ min(θ, λ).
    """
    rate = 0.5 * np.log2(np.maximum(variances / level, 1)).sum()
    return float(rate), float(np.minimum(variances, level).sum())


def gaussian_points(
    images: Images, pca: PCA, steps: Sequence[float] = STEPS
) -> list[dict[str, Any]]:
    """Return the bound for a Gaussian source with the covariance of the training images.

    No code for that source does better. Images are no Gaussian source: theirs is easier to code
    (of all sources with one covariance the Gaussian one needs the most bits), so a system may lie
    on either side of this curve. The levels are step² / 12, the error of a quantizer with small
    steps.
    """
    points = []
    for level in (step**2 / 12 for step in steps):
        rate, total = water_filling(pca.variances, level)
        mse = total / len(pca.mean)
        row = {"system": "Gaussian bound", "setting": f"level {level:.2g}", "rate": "bound"}
        psnr = -10 * math.log10(mse) if mse else math.inf
        points.append({**row, "bits": rate, "nmse": mse / images.variance, "psnr": psnr})
    return points


def _vectors(images: Tensor) -> np.ndarray:
    """Return uint8 images as float64 (N, D) in [0, 1]."""
    return images.flatten(1).numpy() / 255
