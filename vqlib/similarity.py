"""Structural similarity (Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861), batched.

It also computes SSIM in other ways that people use, right or wrong: the same reconstructions then
get very different scores (see notebook 3). The headline is `Wang et al.`; the last three of
`PROTOCOLS` are mistakes that are easy to make.
"""

import math
from collections.abc import Callable, Iterator

import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from vqlib.errors import UserError

K1, K2 = 0.01, 0.03
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
    taps, covariance_norm = _window(window)
    height, width = x.shape[-2:]
    if min(height, width) < len(taps):
        raise UserError(f"images of {height}×{width} are smaller than the window of {len(taps)}")
    down, across = _banded(taps, height).to(x.device), _banded(taps, width).to(x.device)
    c1 = (K1 * data_range) ** 2
    c2 = (K2 * data_range) ** 2 / covariance_norm

    def local_mean(planes: Tensor) -> Tensor:  # (N, H, W): two products, nothing transposed
        rows = across @ planes.view(-1, width).T
        return down @ rows.view(-1, height).T  # (H', W' · N)

    def compare(x: Tensor, y: Tensor) -> Tensor:
        """Compute with a = x + y and b = x - y: 4xy = a² - b², 2x² + 2y² = a² + b²."""
        x, y = x.contiguous().double(), y.contiguous().double()
        a, b = x + y, x - y
        mean_a, mean_b = local_mean(a).square_(), local_mean(b).square_()
        var_a, var_b = local_mean(a.square_()).sub_(mean_a), local_mean(b.square_()).sub_(mean_b)
        luminance = (mean_a - mean_b + 2 * c1) / (mean_a + mean_b + 2 * c1)
        structure = (var_a - var_b + 2 * c2) / (var_a + var_b + 2 * c2)
        return (luminance * structure).view(-1, *x.shape[:2]).mean(dim=(0, 2))  # (B,)

    pairs = zip(x.split(CHUNK), y.split(CHUNK), strict=True)
    return torch.cat([compare(a, b) for a, b in pairs])


def _window(window: str | int) -> tuple[Tensor, float]:
    """Return one-dimensional weights, and the factor from population to the wanted covariance."""
    if window == "gaussian":
        sigma, radius = 1.5, 5
        taps = torch.arange(-radius, radius + 1, dtype=torch.float64)
        taps = (-taps.square() / (2 * sigma**2)).exp()
        return taps / taps.sum(), 1.0
    if isinstance(window, int) and window > 1:
        pixels = window**2
        return torch.full((window,), 1 / window, dtype=torch.float64), pixels / (pixels - 1)
    raise UserError(f"unknown window {window!r}: choose gaussian or a whole number above 1")


def _banded(taps: Tensor, length: int) -> Tensor:
    """Return the matrix (length - len(taps) + 1, length) that slides the window along an axis."""
    rows = length - len(taps) + 1
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
        low, high = images.min().item(), images.max().item()
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
        chunks = zip(x.split(IMAGES), y.split(IMAGES), strict=True)
        return sum(ssim(a, b, data_range, window).sum().item() for a, b in chunks) / len(x)

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
    return _across_images(x, y, lambda images: images.flatten(1), None)


def _volume(x: Tensor, y: Tensor) -> float | None:
    """Score the batch as a volume (N, H, W) with colours: the window spans neighbouring images."""
    return _across_images(x, y, lambda images: images.movedim(1, -1), -1)


def _across_images(
    x: Tensor, y: Tensor, arrange: Callable[[Tensor], Tensor], channel_axis: int | None
) -> float | None:
    """Return scikit-image's default score of the arranged images, in overlapping pieces."""
    if len(x) < SIDE:
        return None
    total = 0.0
    for rows in _overlapping(len(x)):
        a, b = (arrange(images[rows]).double().numpy() for images in (x, y))
        score = structural_similarity(a, b, win_size=SIDE, data_range=1, channel_axis=channel_axis)
        total += score * (len(a) - SIDE + 1)
    return float(total / (len(x) - SIDE + 1))


def _overlapping(length: int) -> Iterator[slice]:
    for start in range(0, length - SIDE + 1, IMAGES):
        yield slice(start, start + IMAGES + SIDE - 1)


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
