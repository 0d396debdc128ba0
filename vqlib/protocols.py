"""SSIM computed in the ways in which it is computed in practice, right or wrong.

One set of reconstructions gets very different scores; notebook 3 shows which. The headline is
`Wang et al.`; the last three are mistakes that are easy to make.
"""

from collections.abc import Callable, Iterator

from skimage.metrics import structural_similarity
from torch import Tensor

from vqlib.similarity import check_pair, ssim

GRID = 8  # images along each side of a grid picture
SIDE = 7  # of scikit-image's default window
CHUNK = 100  # images at a time
GRIDS = 2  # grid pictures at a time


def ssim_by_protocol(x: Tensor, y: Tensor) -> dict[str, float]:
    """The mean SSIM of images x and their reconstructions y by each protocol.

    Args:
        x, y: float32 (N, 3, H, W) in [0, 1].

    Returns:
        Protocol to score; None where there are too few images for it.

    Raises:
        UserError: where shapes differ, or a value lies outside [0, 1].
    """
    check_pair(x, y, 1.0)
    return {name: score(x, y) for name, score in PROTOCOLS.items()}


def _per_image(data_range: float, window: str | int) -> Callable[[Tensor, Tensor], float]:
    def score(x: Tensor, y: Tensor) -> float:
        chunks = zip(x.split(CHUNK), y.split(CHUNK), strict=True)
        return sum(ssim(a, b, data_range, window).sum().item() for a, b in chunks) / len(x)

    return score


def _no_window(x: Tensor, y: Tensor) -> float:
    return _per_image(1.0, x.shape[-1])(x, y)


def _grid_pictures(x: Tensor, y: Tensor) -> float | None:
    """8×8 images side by side as one picture; images that do not fill a picture are left out."""
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
    """The batch as one grey picture of (N, 3·H·W): the window spans neighbouring images."""
    return _across_images(x, y, lambda images: images.flatten(1), None)


def _volume(x: Tensor, y: Tensor) -> float | None:
    """The batch as one volume of (N, H, W) with colours: the window spans neighbouring images."""
    return _across_images(x, y, lambda images: images.movedim(1, -1), -1)


def _across_images(
    x: Tensor, y: Tensor, arrange: Callable[[Tensor], Tensor], channel_axis: int | None
) -> float | None:
    """scikit-image's default on all images as arranged, in pieces that overlap by the window."""
    if len(x) < SIDE:
        return None
    total = 0.0
    for rows in _overlapping(len(x)):
        a, b = (arrange(images[rows]).double().numpy() for images in (x, y))
        score = structural_similarity(a, b, win_size=SIDE, data_range=1, channel_axis=channel_axis)
        total += score * (len(a) - SIDE + 1)
    return float(total / (len(x) - SIDE + 1))


def _overlapping(length: int) -> Iterator[slice]:
    for start in range(0, length - SIDE + 1, CHUNK):
        yield slice(start, start + CHUNK + SIDE - 1)


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
