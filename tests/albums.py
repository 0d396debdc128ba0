"""Pictures and folders of pictures as people have them, made for the tests."""

import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def random_pixels(seed: int, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Return random pixels (H, W, 3) of a picture of this width and height."""
    width, height = size
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(kind: str, mode: str = "RGB", seed: int = 0, alpha: int = 128, **options: Any) -> bytes:
    """Return a random picture as a file's content."""
    buffer, picture = BytesIO(), Image.fromarray(random_pixels(seed)).convert(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(alpha)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def animated(kind: str, seed: int = 0) -> bytes:
    """Return a picture of two frames."""
    second = Image.fromarray(255 - random_pixels(seed))
    return encoded(kind, seed=seed, save_all=True, append_images=[second])


def png_of_16_bits(values: np.ndarray) -> bytes:
    """Return colours uint16 (H, W, 3) as a PNG, which Pillow cannot write."""
    height, width, _ = values.shape
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def grey_of_16_bits(seed: int = 0) -> bytes:
    """Return a grey PNG of 16 bits."""
    buffer = BytesIO()
    Image.fromarray(random_pixels(seed)[..., 0].astype(np.uint16) * 257).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_picture(
    path: Path, seed: int = 0, size: tuple[int, int] = (32, 32), mode: str = "RGB"
) -> np.ndarray:
    """Write a picture of random pixels, and return them as (H, W, 3)."""
    pixels = random_pixels(seed, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return pixels


def fill(folder: Path, count: int = 12, start: int = 0) -> None:
    """Write so many different pictures."""
    for number in range(start, start + count):
        write_picture(folder / f"{number:03}.png", number)


def zipped(folder: Path, target: Path) -> Path:
    """Pack the files of a folder as a .zip, under the folder's name."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return target


def tarred(folder: Path, target: Path, mode: str = "w:gz") -> Path:
    """Pack a folder as a .tar, compressed by default, in an order that is not that of the names."""
    with tarfile.open(target, mode) as archive:  # type: ignore[call-overload]
        for path in sorted(folder.rglob("*"), reverse=True):
            archive.add(path, path.relative_to(folder.parent), recursive=False)
    return target


# --- the folders that people have ----------------------------------------------------------


def _each(content: Callable[[int], bytes], name: str) -> Callable[[Path], Path]:
    """Return a function that makes a folder of six such pictures among six plain ones."""

    def make(root: Path) -> Path:
        fill(root / "pics", 6)
        for number in range(6):
            write(root / "pics" / f"{number}-{name}", content(100 + number))
        return root / "pics"

    return make


def _mixed(root: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6  # held on its side
    for number, size in enumerate([(40, 48), (48, 40), (640, 480), (33, 32), (7, 9), (300, 20)]):
        write_picture(root / "pics" / f"{number}.png", number, size)
        turned = Image.fromarray(random_pixels(50 + number, size))
        turned.save(root / "pics" / f"{number}-turned.jpg", exif=exif)
    return root / "pics"


def _splits(*names: str) -> Callable[[Path], Path]:
    """Return a function that makes a folder of such splits, each of two classes."""

    def make(root: Path) -> Path:
        for place, name in enumerate(names):
            for number in range(8):
                path = root / "pics" / name / ("cats", "dogs")[number % 2] / f"{number}.png"
                write_picture(path, 10 * place + number)
        return root / "pics"

    return make


def _nested(root: Path) -> Path:
    for split, start in (("seg_train", 0), ("seg_test", 50)):
        for number in range(6):
            place = root / "pics" / split / split / ("forest", "sea")[number % 2]
            write_picture(place / f"{number}.jpg", start + number)
    fill(root / "pics" / "seg_pred" / "seg_pred", 3, start=90)
    return root / "pics"


def _link_to_itself(root: Path) -> Path:
    fill(root / "pics", 24)
    (root / "pics" / "latest").symlink_to(".")
    return root / "pics"


def _links(root: Path) -> Path:
    fill(root / "pics" / "run1", 12)
    (root / "pics" / "latest").symlink_to("run1")
    (root / "pics" / "run1" / "up").symlink_to("../..")
    (root / "pics" / "best.png").symlink_to("run1/003.png")
    os.link(root / "pics" / "run1" / "004.png", root / "pics" / "hard.png")
    return root / "pics"


def _copies(root: Path) -> Path:
    fill(root / "pics", 12)
    for number in range(12):
        shutil.copy(root / "pics" / f"{number:03}.png", root / "pics" / f"copy of {number}.png")
    return root / "pics"


def _copies_across(root: Path) -> Path:
    fill(root / "pics" / "train", 12)
    fill(root / "pics" / "test", 4, start=8)  # four of them again
    return root / "pics"


def _two_cases(root: Path) -> Path:
    fill(root / "pics" / "train", 6)
    fill(root / "pics" / "Train", 6, start=10)
    fill(root / "pics" / "test", 4, start=20)
    return root / "pics"


def _unreadable(root: Path) -> Path:
    fill(root / "pics", 12)
    write(root / "pics" / "bad.png", b"this is no picture")
    write(root / "pics" / "cut.jpg", encoded("JPEG")[:300])
    return root / "pics"


def _zip(root: Path) -> Path:
    return zipped(_splits("train", "test")(root), root / "pictures.zip")


def _tar(root: Path) -> Path:
    fill(root / "pics", 12)
    return tarred(root / "pics", root / "pictures.tar.gz")


ALBUMS: dict[str, tuple[Callable[[Path], Path], int, int, tuple[str, ...]]] = {
    # name: how to make it, training and test images, and what is told
    "mixed sizes": (_mixed, 10, 2, ("9×7 to 640×480", "resized to 32×32")),
    "grey": (_each(lambda n: encoded("JPEG", "L", n), "a.jpg"), 10, 2, ("6 in grey",)),
    "palette": (_each(lambda n: encoded("GIF", "P", n), "a.gif"), 10, 2, ("6 with a palette",)),
    "CMYK": (_each(lambda n: encoded("JPEG", "CMYK", n), "a.jpg"), 10, 2, ("6 in other colours",)),
    "16 bits": (_each(grey_of_16_bits, "a.png"), 10, 2, ("6 of more than 8 bits", "6 in grey")),
    "opaque alpha": (
        _each(lambda n: encoded("PNG", "RGBA", n, alpha=255), "a.png"), 10, 2,
        ("6 with transparency",),
    ),
    "alpha": (
        _each(lambda n: encoded("PNG", "RGBA", n), "a.png"), 10, 2,
        ("6 with transparency (on white)",),
    ),
    "animations": (_each(lambda n: animated("GIF", n), "a.gif"), 10, 2, ("6 with several frames",)),
    "train, val, test": (_splits("train", "val", "test"), 8, 8, ("8 in `val",)),
    "train, valid": (_splits("Training", "Validation"), 8, 8, ("`Training` and `Validation`",)),
    "seg_train": (_nested, 6, 6, ("`seg_train` and `seg_test`", "3 in `seg_pred")),
    "a zip": (_zip, 8, 8, ("`train` and `test`",)),
    "a tar": (_tar, 10, 2, ("every tenth",)),
    "a link to itself": (_link_to_itself, 21, 3, ("1 links", "`latest`")),
    "links": (_links, 10, 2, ("4 links", "`run1/up`")),
    "exact copies": (_copies, 10, 2, ("12 exact copies",)),
    "copies across": (_copies_across, 8, 4, ("4 exact copies",)),
    "train and Train": (_two_cases, 12, 4, ("`Train`, `train` and `test`",)),
    "twelve": (lambda root: (fill(root / "pics", 12), root / "pics")[1], 10, 2, ("12 pictures",)),
}  # fmt: skip
UNREADABLE = _unreadable
