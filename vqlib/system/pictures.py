"""One picture, whatever it comes as: decoded, turned upright, made plain RGB, and made square."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vqlib.errors import UserError

SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".bmp", ".webp", ".avif", ".tif", ".tiff"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
}
FORMATS = (  # of contents; Pillow has others, and would start other programs for some
    *("JPEG", "MPO", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO"),
    *("PCX", "TGA"),
)
KINDS = {  # what is converted, and what it is called
    "grey": "in grey",
    "palette": "with a palette",
    "colours": "in other colours than RGB",
    "deep": "of more than 8 bits (rounded down)",
    "alpha": "with transparency (on white)",
    "animated": "with several frames (the first)",
}
TURNS = {  # by the orientation that a camera notes
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION = 0x0112
MOST_BYTES = 2**29  # of a file; beyond it is no picture, or unpacks to too much


class Decoded(NamedTuple):
    """A picture as it is trained on, and what it was.

    Attributes:
        pixels: uint8 (side, side, 3).
        size: width and height that it had.
        kinds: which of `KINDS` it was; see `kinds_of`.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    kinds: int


@contextmanager
def quiet() -> Iterator[None]:
    """Let Pillow's warnings pass, which are about odd metadata and large pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode(content: bytes, side: int) -> Decoded:
    """Return the picture in a file's content as a square of RGB, cropped at the centre and resized.

    Raises:
        UserError: if it cannot be read or converted; the message is the reason alone.
    """
    if len(content) > MOST_BYTES:
        raise UserError(f"larger than {MOST_BYTES // 2**20} MiB")
    try:
        with Image.open(BytesIO(content), formats=_formats()) as picture:
            kinds, rgb = _upright_rgb(picture)
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError("no picture, or one of an unknown format" if content else "empty") from None
    except Exception as error:  # Pillow raises almost anything for a damaged picture
        raise UserError(one_line(error)) from None
    return Decoded(square(rgb, side), rgb.size, kinds)


def square(picture: Image.Image, side: int) -> np.ndarray:
    """Return an RGB picture cropped at the centre and resized: uint8 (side, side, 3)."""
    if picture.size != (side, side):
        picture = ImageOps.fit(picture, (side, side), Image.Resampling.BOX)
    return np.asarray(picture)


def to_rgb(picture: Image.Image) -> Image.Image:
    """Return a loaded picture as RGB of 8 bits, on white where it is transparent.

    Raises:
        UserError: if its numbers cannot be read as shades.
    """
    picture = _to_8_bits(picture)
    if picture.has_transparency_data:
        layer = picture.convert("LA") if picture.mode == "La" else picture
        layer = layer.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def kinds_of(picture: Image.Image) -> int:
    """Return a bit for each of `KINDS` that an opened picture is; 0 if it is RGB of 8 bits."""
    mode = picture.mode
    found = {
        "grey": mode in ("1", "L", "LA", "La") or mode[0] in "IF",
        "palette": mode in ("P", "PA"),
        "colours": mode in ("CMYK", "YCbCr", "LAB", "HSV"),
        "deep": mode[0] in "IF" or any(";16" in str(t.args) for t in getattr(picture, "tile", [])),
        "alpha": picture.has_transparency_data,
        "animated": getattr(picture, "is_animated", False) and picture.format != "MPO",
    }
    return sum(1 << bit for bit, kind in enumerate(KINDS) if found[kind])


def tell_sizes(sizes: np.ndarray, side: int) -> str:
    """Return a sentence on the pictures' number and sizes.

    Args:
        sizes: width and height that each had, (N, 2).
        side: of the squares that they became.
    """
    by_area = sizes[np.argsort(sizes.prod(1), kind="stable")]
    (width, height), (wider, higher) = by_area[0], by_area[-1]
    text = f"{len(sizes):,} picture{'s' if len(sizes) > 1 else ''} of {width}×{height}"
    if len(np.unique(sizes, axis=0)) > 1:
        text += f" to {wider}×{higher}"
    text = f"{text} pixels {_were(len(sizes))}"
    resized = int((sizes != side).any(1).sum())
    how = f"centre-cropped and resized to {side}×{side}"
    if resized == len(sizes):
        return f"{text} {how}."
    return f"{text} read; {resized:,} {_were(resized)} {how}." if resized else f"{text} read."


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def tell_kinds(kinds: np.ndarray) -> list[str]:
    """Return a sentence on how many pictures were of which of `KINDS`; none if all were plain.

    Args:
        kinds: as `kinds_of` gives them, (N,).
    """
    counts = {kind: int((kinds >> bit & 1).sum()) for bit, kind in enumerate(KINDS)}
    found = [f"{count:,} {KINDS[kind]}" for kind, count in counts.items() if count]
    return [f"These were converted to RGB of 8 bits: {', '.join(found)}."] if found else []


def one_line(error: Exception) -> str:
    """Return what an error says, in one line; its kind if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def _formats() -> list[str]:
    if not set(FORMATS) <= set(Image.OPEN):
        Image.init()  # else Pillow knows the most frequent ones only
    return [name for name in FORMATS if name in Image.OPEN]


def _upright_rgb(picture: Image.Image) -> tuple[int, Image.Image]:
    if 0 in picture.size:
        raise UserError("no pixels")
    kinds = kinds_of(picture)
    picture.load()
    rgb = to_rgb(picture)
    turn = TURNS.get(_orientation(picture))
    return kinds, rgb if turn is None else rgb.transpose(turn)


def _orientation(picture: Image.Image) -> int:
    """Return how the camera was held; 1, upright, if the picture does not say or says nonsense."""
    try:
        return int(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged metadata are no damaged picture
        return 1


def _to_8_bits(picture: Image.Image) -> Image.Image:
    """Return a picture of numbers beyond 8 bits as grey of 8 bits; others as they are."""
    if picture.mode[0] not in "IF":
        return picture
    values = np.asarray(picture)
    lowest, highest = values.min(), values.max()
    if picture.mode == "F":
        if not 0 <= lowest <= highest <= 1:
            raise UserError(f"floating-point values from {lowest:.4g} to {highest:.4g}, not 0 to 1")
        return Image.fromarray((values * 255).round().astype(np.uint8))
    if not 0 <= lowest <= highest < 2**16:
        raise UserError(f"values from {lowest} to {highest}, which are not of 8 or 16 bits")
    is_small = picture.mode == "I" and picture.format != "PPM" and highest < 2**8
    return Image.fromarray((values if is_small else values >> 8).astype(np.uint8))
