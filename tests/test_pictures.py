"""One picture: read in any format, turned upright, and made plain RGB."""

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from albums import animated, encoded, grey_of_16_bits, png_of_16_bits, random_pixels, write_picture
from conftest import refusal
from PIL import Image, ImageOps
from skimage.util import img_as_ubyte

from vqlib.images import read_picture
from vqlib.system.pictures import KINDS, decode, tell_kinds

PIXELS = random_pixels(0)


def kinds(content: bytes) -> set[str]:
    """Return the kinds of a picture that are told."""
    told = decode(content, 32).kinds
    return {kind for bit, kind in enumerate(KINDS) if told >> bit & 1}


def stored(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def by_pillow(content: bytes) -> np.ndarray:
    with Image.open(BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "JPEG", "WEBP", "AVIF", "TGA", "PPM"])
def test_plain_rgb_is_as_pillow_reads_it(kind: str) -> None:
    content = encoded(kind)
    assert kinds(content) == set()
    np.testing.assert_array_equal(decode(content, 32).pixels, by_pillow(content))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (lambda: encoded("PNG", "L"), {"grey"}),
        (lambda: encoded("JPEG", "L"), {"grey"}),
        (lambda: encoded("PNG", "1"), {"grey"}),
        (lambda: encoded("PNG", "P"), {"palette"}),
        (lambda: encoded("GIF", "P"), {"palette"}),
        (lambda: encoded("JPEG", "CMYK"), {"colours"}),
        (lambda: encoded("TIFF", "YCbCr"), {"colours"}),
    ],
)
def test_grey_palettes_and_other_colours_are_as_pillow_converts_them(
    content: Callable[[], bytes], expected: set[str]
) -> None:
    assert kinds(content()) == expected
    np.testing.assert_array_equal(decode(content(), 32).pixels, by_pillow(content()))


@pytest.mark.parametrize("alpha", [0, 1, 100, 254, 255])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_what_is_transparent_is_put_on_white(kind: str, alpha: int) -> None:
    content = encoded(kind, "RGBA", alpha=alpha)
    share = alpha / 255
    expected = share * PIXELS.astype(float) + (1 - share) * 255
    assert kinds(content) == {"alpha"}
    np.testing.assert_allclose(decode(content, 32).pixels, expected, atol=1)
    if alpha == 255:
        np.testing.assert_array_equal(decode(content, 32).pixels, PIXELS)


def test_a_transparent_colour_is_white() -> None:
    colour = tuple(map(int, PIXELS[3, 4]))
    pixels = decode(encoded("PNG", transparency=colour), 32).pixels
    assert (pixels[3, 4] == 255).all()
    np.testing.assert_array_equal(pixels[0, 0], PIXELS[0, 0])


def test_grey_with_transparency_is_put_on_white() -> None:
    assert kinds(encoded("PNG", "LA", alpha=0)) == {"grey", "alpha"}
    assert (decode(encoded("PNG", "LA", alpha=0), 32).pixels == 255).all()


def test_a_transparent_place_of_a_palette_is_white() -> None:
    picture = Image.fromarray(PIXELS).quantize(16)
    used = picture.getpixel((0, 0))
    content = stored(picture, "GIF", transparency=used)
    assert kinds(content) == {"palette", "alpha"}
    assert (decode(content, 32).pixels[0, 0] == 255).all()


def test_16_bits_become_8_as_scikit_image_makes_them() -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (32, 32, 3), np.uint16)
    with warnings.catch_warnings(action="ignore"):
        expected = img_as_ubyte(values)
    np.testing.assert_array_equal(decode(png_of_16_bits(values), 32).pixels, expected)
    assert kinds(png_of_16_bits(values)) == {"deep"}
    grey = stored(Image.fromarray(values[..., 0]), "TIFF")
    np.testing.assert_array_equal(decode(grey, 32).pixels[..., 2], expected[..., 0])
    assert kinds(grey) == kinds(grey_of_16_bits()) == {"grey", "deep"}


def test_numbers_of_32_bits_are_read_by_their_range() -> None:
    shades = PIXELS[..., 0]
    for values in (
        shades.astype(np.int32),
        shades.astype(np.int32) * 257,
        shades / np.float32(255),
    ):
        pixels = decode(stored(Image.fromarray(values), "TIFF"), 32).pixels
        np.testing.assert_array_equal(pixels[..., 1], shades)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_its_first_frame(kind: str) -> None:
    content = animated(kind)
    assert "animated" in kinds(content)
    np.testing.assert_array_equal(decode(content, 32).pixels, by_pillow(content))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_pictures_are_turned_as_pillow_turns_them(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = stored(Image.fromarray(random_pixels(0, (48, 32))), kind, exif=exif)
    with Image.open(BytesIO(content)) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    decoded = decode(content, 32)
    assert decoded.size == upright.size
    expected = ImageOps.fit(upright, (32, 32), Image.Resampling.BOX)
    np.testing.assert_array_equal(decoded.pixels, np.asarray(expected))


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (64, 64)])
def test_the_centre_is_what_is_kept(size: tuple[int, int]) -> None:
    pixels = random_pixels(0, size).astype(float)
    top, left = (size[1] - 64) // 2, (size[0] - 64) // 2
    square = pixels[top : top + 64, left : left + 64]
    means = square.reshape(32, 2, 32, 2, 3).mean((1, 3))
    content = stored(Image.fromarray(pixels.astype(np.uint8)), "PNG")
    np.testing.assert_allclose(decode(content, 32).pixels, means, atol=1)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_a_picture_file_is_read_as_a_tensor(tmp_path: Path, side: int) -> None:
    write_picture(tmp_path / "a.png", size=(side, side))
    picture = read_picture(tmp_path / "a.png", side)
    assert picture.shape == (3, side, side)
    expected = random_pixels(0, (side, side))
    np.testing.assert_array_equal(picture.permute(1, 2, 0), expected)


def test_a_sentence_counts_each_kind() -> None:
    told = [decode(encoded("PNG", mode), 32).kinds for mode in ("RGB", "L", "LA", "L")]
    (sentence,) = tell_kinds(np.array(told))
    assert "3 in grey" in sentence
    assert "1 with transparency" in sentence
    assert tell_kinds(np.array(told[:1])) == []


# --- what is refused -----------------------------------------------------------------------


def with_bytes(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


CORRUPT: dict[str, Callable[[], bytes]] = {
    "empty.png": lambda: b"",
    "garbage.png": lambda: b"this is no picture" * 50,
    "document.jpg": lambda: b"%PDF-1.7 and so on",
    "program.png": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
    "cut.png": lambda: encoded("PNG")[:500],
    "cut.jpg": lambda: encoded("JPEG")[:500],
    "cut.gif": lambda: encoded("GIF")[:300],
    "cut.bmp": lambda: encoded("BMP")[:60],
    "cut.webp": lambda: encoded("WEBP")[:60],
    "cut.tif": lambda: encoded("TIFF")[:60],
    "short-header.png": lambda: with_bytes(encoded("PNG"), 8, b"\0\0\0\x05"),
    "no-such-chunk.png": lambda: with_bytes(encoded("PNG"), 37, b"\x8d\x96\xc6\x1d"),
    "huge.bmp": lambda: with_bytes(encoded("BMP"), 18, b"\xff\xff\xff\0\xff\xff\xff\0"),
    "float.tif": lambda: stored(Image.fromarray(np.full((9, 9), 300, np.float32)), "TIFF"),
    "nan.tif": lambda: stored(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF"),
    "negative.tif": lambda: stored(Image.fromarray(np.full((9, 9), -1, np.int32)), "TIFF"),
}


@pytest.mark.faults
@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_picture_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CORRUPT[name]())
    message = refusal(lambda: read_picture(tmp_path / name), tmp_path / name, "cannot be read")
    assert "BytesIO" not in message


@pytest.mark.faults
def test_a_picture_that_is_gone_is_refused_by_name(tmp_path: Path) -> None:
    facts = (tmp_path / "a.png", "cannot be read", "No such file")
    refusal(lambda: read_picture(tmp_path / "a.png"), *facts)
