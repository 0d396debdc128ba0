"""How fast a folder of small pictures is read, the first time and again."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from vqlib.bench.loops import interleave, quiet, timed
from vqlib.bench.table import RATE, Row, compare, number
from vqlib.images import Images, load_images
from vqlib.system.machine import cores, peak_memory

KINDS = {"PNG": "png", "JPEG": "jpg"}
CLASSES = 10  # sub-folders
PEER = "torchvision's ImageFolder"
PEER_PICTURES = 5_000  # at most; its rate does not depend on their number


def reading(pictures: int, repeats: int, images: Images, folder: Path) -> list[Row]:
    """Compare reading a folder with ImageFolder; time reading it again, and measure memory.

    Args:
        pictures: how many there are in the folder.
        repeats: after one that only warms up.
        images: what they show, again and again with one pixel changed.
        folder: for pictures and caches.
    """
    rows = []
    for kind, suffix in KINDS.items():
        root = folder / suffix
        _write(root, pictures, suffix, images)
        what = f"Reading a folder of {pictures:,} {kind}s of 32×32"
        rates = interleave(
            repeats,
            {"own": partial(_first_rate, root, folder), "peer": partial(_peer_rate, root)},
        )
        how = f"with labels and checksums, on {cores()} cores; median of {repeats}"
        rows.append(compare(what, RATE, rates["own"], rates["peer"], PEER, how))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        seconds, memory = process.submit(_twice, root, folder / "cache").result()
    rows.append(Row(f"{what}, again", "from the cache, once", "s", seconds))
    how = "not measured: this system has no /proc"
    if memory is not None:
        tensor = pictures * 32 * 32 * 3 / 1e6
        how = f"resident, beyond what was there before; the tensor has {number(tensor)} MB"
    return [*rows, Row(f"Memory for {what[0].lower()}{what[1:]}", how, "MB", memory)]


def _write(root: Path, count: int, suffix: str, images: Images) -> None:
    train = images.train.permute(0, 2, 3, 1).numpy()
    for index in range(count):
        pixels = train[index % len(train)].copy()
        pixels[0, 0] = np.frombuffer(index.to_bytes(3, "big"), np.uint8)  # none is there twice
        path = root / f"class {index % CLASSES}" / f"{index:06}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def _write_two(folder: Path) -> None:
    folder.mkdir()
    for shade in (0, 255):
        Image.new("RGB", (32, 32), (shade, 0, 0)).save(folder / f"{shade}.png")


def _first_rate(root: Path, scratch: Path) -> float:
    """Return pictures per second, without a cache."""
    with _cache(scratch / f"{time.monotonic_ns()}"), quiet():
        started = time.perf_counter()
        images = load_images(str(root))
        return (len(images.train) + len(images.test)) / (time.perf_counter() - started)


def _peer_rate(root: Path) -> float:
    from torchvision.datasets import ImageFolder

    started = time.perf_counter()
    read = [np.asarray(picture) for picture, _ in islice(iter(ImageFolder(root)), PEER_PICTURES)]
    return len(read) / (time.perf_counter() - started)


def _twice(root: Path, cache: Path) -> tuple[float, float | None]:
    """Return the seconds of a second reading, and the memory in MB that the first one needed."""
    with _cache(cache), quiet():
        _write_two(cache.with_name("two"))
        load_images(str(cache.with_name("two")))  # imports what is needed
        before = peak_memory()
        load_images(str(root))
        after = peak_memory()
        seconds = timed(load_images, str(root))
    return seconds, None if before is None or after is None else after - before


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """Let pictures be kept in this folder."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before
