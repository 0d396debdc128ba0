"""Image codecs as systems to compare with: JPEG, WebP, AVIF and JPEG XL, as Pillow writes them.

Each picture is a file of its own, and all files of a point have one quality. At 32×32 pixels the
header is most of a file, so there are two rates: of the whole file, and without those bytes that
are the same in all files.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqlib.images import Images
from vqlib.models import BATCH
from vqlib.rates.measures import DRAWN, distortion
from vqlib.system.machine import cores


@dataclass(frozen=True)
class Codec:
    """A codec with the qualities to compare at.

    Attributes:
        name: as tables and figures show it.
        format: as Pillow calls it.
        qualities: one point each; the lowest that the codec has is among them.
        options: what else `Image.save` is given.
        provider: what to install if Pillow does not have the codec.
    """

    name: str
    format: str
    qualities: tuple[int, ...]
    options: Mapping[str, Any]
    provider: str

    @property
    def is_available(self) -> bool:
        """Whether Pillow writes and reads the format here."""
        with suppress(ImportError):
            import pillow_jxl  # noqa: F401 (it adds JPEG XL to Pillow)
        Image.init()
        return self.format in Image.SAVE and self.format in Image.OPEN

    def encode(self, image: Tensor, quality: int) -> bytes:
        """Return a uint8 image (3, H, W) as the bytes of a file."""
        file = BytesIO()
        picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
        picture.save(file, self.format, quality=quality, **self.options)
        return file.getvalue()


CODECS = (
    # Chroma at half the resolution, and standard Huffman tables: better below 1,100 bits than
    # full chroma, and the same header for all images.
    Codec(
        "JPEG", "JPEG", (1, 5, 10, 15, 20, 30, 50, 75), {"subsampling": "4:2:0"}, "Pillow's wheel"
    ),
    Codec("WebP", "WEBP", (0, 5, 20, 40, 75, 95), {"method": 6}, "Pillow's wheel"),
    # Slower ones gain about 0.3 dB and take ten times as long.
    Codec(
        "AVIF", "AVIF", (0, 20, 40, 60, 80), {"speed": 8, "max_threads": 1},
        "Pillow 11.3 or newer",
    ),
    Codec(
        "JPEG XL", "JXL", (1, 20, 50, 75, 95), {"effort": 5, "num_threads": 1},
        "the package pillow-jxl-plugin",
    ),
)  # fmt: skip


def available_codecs() -> list[Codec]:
    """Return the codecs that Pillow has here; say which ones are missing, and how to get them."""
    missing = [codec for codec in CODECS if not codec.is_available]
    for codec in missing:
        print(f"{codec.name} is left out, because Pillow cannot write it: install {codec.provider}")
    return [codec for codec in CODECS if codec not in missing]


def decode(file: bytes) -> Tensor:
    """Return the uint8 image (3, H, W) of a file's bytes."""
    with Image.open(BytesIO(file)) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def shared_bytes(files: Sequence[bytes]) -> int:
    """Return how many bytes of each file are the same in all of them.

    These are the bytes at one distance from the start that all files have in common, and the
    longest common end. Whoever knows them can leave them out of each file and put them back. Only
    thousands of files tell a header from chance: a few have other bytes in common as well.
    """
    shortest = min(len(file) for file in files)
    from_start = _constant([file[:shortest] for file in files])
    from_end = _constant([file[-shortest:] for file in files])[::-1]
    end = int(np.append(from_end, False).argmin())  # how long the common end is
    return int(from_start[: shortest - end].sum()) + end


def _constant(files: Sequence[bytes]) -> np.ndarray:
    """Return for each position of files of one length whether all have the same byte there."""
    stacked = np.stack([np.frombuffer(file, np.uint8) for file in files])
    return (stacked == stacked[0]).all(axis=0)


def _through(codec: Codec, images: Tensor, quality: int) -> tuple[list[bytes], Tensor]:
    """Return images (N, 3, H, W) as files, and decoded from these."""
    files = [codec.encode(image, quality) for image in images]
    return files, torch.stack([decode(file) for file in files])


def codec_points(codec: Codec, images: Images) -> list[dict[str, Any]]:
    """Return rates, distortion and first `pictures` of the test images, two points a quality."""
    points = []
    for quality in codec.qualities:
        through = partial(_through, codec, quality=quality)
        with ThreadPoolExecutor(cores()) as pool:  # Pillow encodes and decodes outside the GIL
            parts = list(pool.map(through, images.test.split(BATCH)))
        files = [file for coded, _ in parts for file in coded]
        decoded = torch.cat([pictures for _, pictures in parts])
        bits = 8 * float(np.mean([len(file) for file in files]))
        measured = distortion(images.test, decoded, images.variance)
        rates = {"whole file": bits, "without header": bits - 8 * shared_bytes(files)}
        for rate, each in rates.items():
            row = {"system": codec.name, "setting": f"quality {quality}", "rate": rate}
            points.append({**row, "bits": each, **measured, "pictures": decoded[:DRAWN]})
    return points
