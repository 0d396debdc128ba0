"""Reading many pictures: on all cores, with a bar, and from a cache if nothing has changed."""

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL

from vqlib.errors import UserError
from vqlib.paths import cache_folder
from vqlib.system.listing import Listing, Read
from vqlib.system.machine import cores
from vqlib.system.pictures import decode, one_line, quiet
from vqlib.system.progress import counting

FACTS = np.dtype(
    [
        ("file", "V16"),  # digest of the file's content
        ("look", "V16"),  # digest of the pixels as they are trained on
        ("size", "i4", 2),  # width and height that the picture had
        ("kinds", "u1"),  # a bit for each of KINDS
    ]
)
VERSION = 1  # of what is read, and of how it is stored
WORTHWHILE = 1.0  # seconds of reading, from which on the result is kept
MOST_KEPT = 4 * 2**30  # bytes in the cache; the longest unused are removed
BATCH = 2**18  # bytes of files that one thread reads at a time


@dataclass
class Pictures:
    """The pictures of a listing, in its order.

    Attributes:
        pixels: uint8 (N, side, side, 3).
        facts: `FACTS` of each.
        problems: why a picture cannot be used, by its index.
    """

    pixels: np.ndarray
    facts: np.ndarray
    problems: dict[int, str]


def read_pictures(listing: Listing, side: int) -> Pictures:
    """Read all pictures of a listing as squares of RGB, or take them from the cache."""
    kept = _Kept(listing, side)
    pictures = kept.load()
    if pictures is None:
        started = time.monotonic()
        pictures = _read(listing, side)
        if time.monotonic() - started >= WORTHWHILE:
            kept.store(pictures)
    return pictures


def _read(listing: Listing, side: int) -> Pictures:
    count = len(listing.entries)
    pictures = Pictures(np.empty((count, side, side, 3), np.uint8), np.zeros(count, FACTS), {})
    with quiet(), ThreadPoolExecutor(cores()) as pool:
        waiting: deque[Future[int]] = deque()

        def done() -> Iterator[int]:
            for batch in _batches(listing):
                waiting.append(pool.submit(_read_batch, batch, pictures))
                if len(waiting) > 2 * cores():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        try:
            for _ in counting(done(), count, f"pictures of {listing.root} read"):
                pass
        finally:
            for future in waiting:  # after Ctrl-C
                future.cancel()
    return pictures


def _batches(listing: Listing) -> Iterator[list[tuple[int, Read]]]:
    """Yield pictures in groups, so that few large ones are in memory at a time."""
    batch, size = [], 0
    for index, read in listing.contents():
        batch.append((index, read))
        size += listing.entries[index].size
        if size >= BATCH or len(batch) == 64:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read_batch(batch: list[tuple[int, Read]], pictures: Pictures) -> int:
    """Read pictures into their places; return how many."""
    for index, read in batch:
        try:
            content = read()
            decoded = decode(content, pictures.pixels.shape[1])
        except (UserError, OSError) as error:
            problem = error.strerror if isinstance(error, OSError) else None
            pictures.problems[index] = problem or one_line(error)
            continue
        pictures.pixels[index] = decoded.pixels
        look = _digest(np.ascontiguousarray(decoded.pixels).data)
        pictures.facts[index] = (_digest(content), look, decoded.size, decoded.kinds)
    return len(batch)


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


class _Kept:
    """A file in the cache: the pictures of one folder or archive at one size.

    They are used only if each path, size, time and place on disk is as it was. A cache that cannot
    be read or written is done without.
    """

    def __init__(self, listing: Listing, side: int):
        folder = cache_folder()
        root = os.fsencode(os.path.realpath(listing.root))
        self.path = folder / f"{_digest(root).hex()}-{side}.npz" if folder else None
        self.count, self.side = len(listing.entries), side
        self.stamp = _stamp(listing)

    def load(self) -> Pictures | None:
        """Return the pictures, or None if they are not in the cache or have changed."""
        if self.path is None:
            return None
        try:
            with np.load(self.path) as kept:
                if kept["stamp"].tobytes() != self.stamp:
                    return None
                pictures = Pictures(
                    kept["pixels"],
                    kept["facts"].view(FACTS).reshape(-1),
                    {int(index): text for index, text in json.loads(str(kept["problems"])).items()},
                )
            os.utime(self.path)  # the longest unused are removed first
        except Exception:  # a damaged file may raise anything
            return None
        shape = (self.count, self.side, self.side, 3)
        is_whole = pictures.pixels.shape == shape and len(pictures.facts) == self.count
        return pictures if is_whole else None

    def store(self, pictures: Pictures) -> None:
        """Keep the pictures, if there is room and no picture was out of reach."""
        if self.path is None or pictures.pixels.nbytes > MOST_KEPT // 2:
            return
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _make_room(self.path.parent, MOST_KEPT - pictures.pixels.nbytes)
            with open(aside, "wb") as file:
                np.savez(
                    file,
                    stamp=np.frombuffer(self.stamp, np.uint8),
                    pixels=pictures.pixels,
                    facts=pictures.facts.view(np.uint8),
                    problems=np.array(json.dumps(pictures.problems)),
                )
            os.replace(aside, self.path)
        except OSError:
            with suppress(OSError):
                aside.unlink()


def _stamp(listing: Listing) -> bytes:
    """Return a digest of all that must be as it was for the cache to hold."""
    own = listing.root.stat()
    parts = [
        (VERSION, PIL.__version__, own.st_ino, *_times(listing.root, own)),
        *((*entry.parts, entry.size, *entry.mark) for entry in listing.entries),
    ]
    return _digest(repr(parts).encode("utf-8", "surrogateescape"))


def _times(root: Path, own: os.stat_result) -> tuple[int, ...]:
    """Return the times of an archive; those of a folder change with what else is in it."""
    return () if root.is_dir() else (own.st_size, own.st_mtime_ns, own.st_ctime_ns)


def _make_room(folder: Path, most: int) -> None:
    """Remove the longest unused files until the others have at most so many bytes."""
    kept = sorted((path.stat().st_mtime, path) for path in folder.glob("*.npz"))
    total = sum(path.stat().st_size for _, path in kept)
    for _, path in kept:
        if total > most:
            total -= path.stat().st_size
            path.unlink()
