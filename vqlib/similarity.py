"""Structural similarity (Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861), batched.

It also computes SSIM in other ways that people use, right or wrong: the same reconstructions then
get very different scores (see notebook 3). The headline is `Wang et al.`; the last three of
`PROTOCOLS` are mistakes that are easy to make.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vqlib.errors import UserError

K1, K2 = 0.01, 0.03
SIGMA, RADIUS = 1.5, 5  # of the Gaussian window
CHUNK = 32  # pairs at a time: about what a processor's cache holds
GRID = 8  # images along each side of a grid picture
SIDE = 7  # of scikit-image's default window
IMAGES = 100  # at a time
GRIDS = 2  # grid pictures at a time


def ssim(x: Tensor, y: Tensor, data_range: float = 1.0, window: str | int = "gaussian") -> Tensor:
    """Return the SSIM of each pair of images: (B,), float64.

    The window stays inside the image, within one colour; the mean is over positions and colours.

    Args:
        x, y: images (B, C, H, W) in [0, data_range].
        data_range: the span of possible values; finite and above 0.
        window: `gaussian`, the settings of Wang et al. (sigma 1.5, 11×11, population covariance:
            scikit-image's `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`), or
            the side of a uniform window (sample covariance); 7 is scikit-image's default.

    Raises:
        UserError: if shapes differ, an image is smaller than the window, or a value lies outside
            [0, data_range].
    """
    check_pair(x, y, data_range)
    mean = _gaussian(x) if window == "gaussian" else _uniform(window, (-2, -1))
    if min(x.shape[-2:]) < mean.side:
        height, width = x.shape[-2:]
        raise UserError(f"images of {height}×{width} are smaller than the window of {mean.side}")
    pairs = zip(x.split(CHUNK), y.split(CHUNK), strict=True)
    return torch.cat([local_ssim(a, b, data_range, mean).mean((2, 3)).mean(1) for a, b in pairs])


def local_ssim(x: Tensor, y: Tensor, data_range: float, mean: "Window") -> Tensor:
    """Return the SSIM of x and y at each position of a window, float64.

    With a = x + y and b = x - y, 4xy = a² - b² and 2x² + 2y² = a² + b²: means and variances of
    a and b are enough.

    Args:
        x, y: of one shape, in [0, data_range].
        data_range: the span of possible values.
        mean: gives the mean of each position's window.
    """
    c1 = (K1 * data_range) ** 2
    c2 = (K2 * data_range) ** 2 / mean.covariance_norm
    x, y = x.double(), y.double()
    a, b = x + y, x - y
    mean_a, mean_b = mean(a).square_(), mean(b).square_()
    var_a, var_b = mean(a.square_()).sub_(mean_a), mean(b.square_()).sub_(mean_b)
    luminance = (mean_a - mean_b + 2 * c1) / (mean_a + mean_b + 2 * c1)
    structure = (var_a - var_b + 2 * c2) / (var_a + var_b + 2 * c2)
    return luminance.mul_(structure)


@dataclass(frozen=True)
class Window:
    """A window that slides over images.

    Attributes:
        side: in pixels.
        covariance_norm: factor from the population's covariance to the wanted one.
        mean: returns the weighted mean at each position.
    """

    side: int
    covariance_norm: float
    mean: Callable[[Tensor], Tensor]

    def __call__(self, values: Tensor) -> Tensor:
        """Return the window's mean of values at each of its positions."""
        return self.mean(values)


def _uniform(side: str | int, axes: tuple[int, ...]) -> Window:
    """Return a window of equal weights over some axes, with the sample covariance."""
    if not isinstance(side, int) or side < 2:
        raise UserError(f"unknown window {side!r}: choose gaussian or a whole number above 1")
    pixels = side ** len(axes)

    def mean(values: Tensor) -> Tensor:
        for axis in axes:
            values = _sliding_sum(values, side, axis)
        return values.div_(pixels)

    return Window(side, pixels / (pixels - 1), mean)


def _sliding_sum(values: Tensor, side: int, axis: int) -> Tensor:
    """Return the sums of `side` neighbours along an axis, from sums of half as many."""
    if side == 1:
        return values
    half = _sliding_sum(values, side // 2, axis)
    count = values.shape[axis] - side + 1
    total = half.narrow(axis, 0, count) + half.narrow(axis, side // 2, count)
    return total.add_(values.narrow(axis, side - 1, count)) if side % 2 else total


def _gaussian(images: Tensor) -> Window:
    """Return the window of Wang et al. for images (B, C, H, W)."""
    taps = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    taps = (-taps.square() / (2 * SIGMA**2)).exp()
    taps /= taps.sum()
    height, width = images.shape[-2:]
    down, across = _banded(taps, height).to(images.device), _banded(taps, width).to(images.device)

    def mean(planes: Tensor) -> Tensor:  # two products, nothing transposed
        rows = across @ planes.contiguous().view(-1, width).T
        means = down @ rows.view(-1, height).T  # (H', W' · B · C)
        return means.view(len(down), len(across), *planes.shape[:2]).permute(2, 3, 0, 1)

    return Window(len(taps), 1.0, mean)


def _banded(taps: Tensor, length: int) -> Tensor:
    """Return the matrix (length - len(taps) + 1, length) that slides the window along an axis."""
    rows = max(0, length - len(taps) + 1)
    matrix = torch.zeros(rows, length, dtype=torch.float64)
    for row in range(rows):
        matrix[row, row : row + len(taps)] = taps
    return matrix


def check_pair(x: Tensor, y: Tensor, data_range: float) -> None:
    """Refuse anything but two batches (B, C, H, W) of one shape in [0, data_range]."""
    if not 0 < data_range < math.inf:
        raise UserError(f"data_range must be a finite number above 0, got {data_range:g}")
    for name, images in (("x", x), ("y", y)):
        if not isinstance(images, Tensor):
            raise UserError(f"{name} must be a torch tensor, got {type(images).__name__}")
    if x.ndim != 4 or x.shape != y.shape or not x.numel():
        raise UserError(
            f"expected two batches (B, C, H, W) of one shape, "
            f"got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    for name, images in (("x", x), ("y", y)):
        low, high = (value.item() for value in images.aminmax())
        if not (math.isfinite(low) and math.isfinite(high) and 0 <= low <= high <= data_range):
            span = f"from {low:g} to {high:g}, outside [0, {data_range:g}]"
            raise UserError(f"{name} has values {span}")


def ssim_by_protocol(x: Tensor, y: Tensor) -> dict[str, float | None]:
    """Return the mean SSIM of images x and their reconstructions y by each protocol.

    Args:
        x, y: float32 (N, 3, H, W) in [0, 1].

    Returns:
        Protocol to score; None if there are too few images for it.

    Raises:
        UserError: if shapes differ, or a value lies outside [0, 1].
    """
    check_pair(x, y, 1.0)
    return {name: score(x, y) for name, score in PROTOCOLS.items()}


def _per_image(data_range: float, window: str | int) -> Callable[[Tensor, Tensor], float]:
    def score(x: Tensor, y: Tensor) -> float:
        return ssim(x, y, data_range, window).mean().item()

    return score


def _no_window(x: Tensor, y: Tensor) -> float:
    return _per_image(1.0, x.shape[-1])(x, y)


def _grid_pictures(x: Tensor, y: Tensor) -> float | None:
    """Score pictures of 8×8 images; images that do not fill a picture are left out."""
    tiles = GRID**2
    count = len(x) // tiles
    if count == 0:
        return None
    chunks = (images[: count * tiles].split(GRIDS * tiles) for images in (x, y))
    scores = (ssim(_as_grids(a), _as_grids(b), 1.0, SIDE) for a, b in zip(*chunks, strict=True))
    return sum(score.sum().item() for score in scores) / count


def _as_grids(images: Tensor) -> Tensor:
    tiles = images.unflatten(0, (-1, GRID, GRID))  # (G, row, column, 3, H, W)
    return tiles.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def _flattened(x: Tensor, y: Tensor) -> float | None:
    """Score the batch as one grey picture (N, 3·H·W): the window spans neighbouring images."""
    return _across_images(x.flatten(1), y.flatten(1), _uniform(SIDE, (0, -1)))


def _volume(x: Tensor, y: Tensor) -> float | None:
    """Score the batch as a volume (N, H, W) in each colour: the window spans neighbours."""
    return _across_images(x, y, _uniform(SIDE, (0, -2, -1)))


def _across_images(x: Tensor, y: Tensor, window: Window) -> float | None:
    """Return the mean score of a window that slides along the batch, too; in pieces."""
    positions = len(x) - SIDE + 1
    if positions < 1:
        return None
    total = 0.0
    for start in range(0, positions, IMAGES):
        rows = slice(start, start + IMAGES + SIDE - 1)  # they overlap
        total += local_ssim(x[rows], y[rows], 1.0, window).flatten(1).mean(1).sum().item()
    return total / positions


PROTOCOLS: dict[str, Callable[[Tensor, Tensor], float | None]] = {
    "Wang et al.": _per_image(1.0, "gaussian"),
    "7×7": _per_image(1.0, SIDE),
    "7×7, range 2": _per_image(2.0, SIDE),
    "grid picture": _grid_pictures,
    "no window": _no_window,
    "batch as a matrix": _flattened,
    "batch as a volume": _volume,
    "range 255": _per_image(255.0, SIDE),
}
