"""Picture files: read as images of one size with their names, and written under these names."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqlib.errors import UserError
from vqlib.system.files import make_folder
from vqlib.system.listing import list_pictures
from vqlib.system.pictures import SUFFIXES, Decoded, decode, quiet, tell_kinds, tell_sizes


def read_pictures(
    pictures: Sequence[Path], side: int, file: Path | None = None
) -> tuple[Tensor, list[str]]:
    """Return the images of files and folders, and a name for each; say what was converted.

    Args:
        pictures: files, and folders whose pictures are all taken.
        side: of the images, in pixels.
        file: where they go; it must not be one of them.

    Returns:
        uint8 (N, 3, side, side), and paths in their folders, without suffix; no two are equal.
    """
    paths, names = [], []
    for given in pictures:
        found = _find(given) if given.is_dir() else [given]
        above = given if given.is_dir() else given.parent
        paths += found
        names += [path.relative_to(above).with_suffix("").as_posix() for path in found]
    if file and file.resolve() in (path.resolve() for path in paths):
        raise UserError(f"{file} would overwrite a picture: choose another output")
    with quiet():
        decoded = [_decoded(path, side) for path in paths]
    sizes = np.array([each.size for each in decoded])
    kinds = np.array([each.kinds for each in decoded])
    print(" ".join([tell_sizes(sizes, side), *tell_kinds(kinds)]))
    images = torch.from_numpy(np.stack([each.pixels for each in decoded])).permute(0, 3, 1, 2)
    return images, _told_apart(names)


def check_empty(folder: Path) -> None:
    """Make a folder; refuse one with files in it."""
    make_folder(folder)
    if any(path.name[0] != "." for path in folder.iterdir()):
        raise UserError(f"{folder} is not empty: give a new folder")


def write_pictures(folder: Path, images: Tensor, names: Sequence[str], source: str) -> None:
    """Write images as PNG files, all of them or none.

    Args:
        folder: where they go.
        images: uint8 (N, 3, H, W).
        names: paths in it, without suffix; if there are none, 00000.png is the first file.
        source: of the names, for messages.
    """
    names = names or [f"{number:05}" for number in range(len(images))]
    try:
        with TemporaryDirectory(prefix=".", suffix=".tmp", dir=folder) as aside:
            for pixels, name in zip(images.permute(0, 2, 3, 1).numpy(), names, strict=True):
                Image.fromarray(pixels).save(_place(Path(aside), name, source))
            for path in Path(aside).iterdir():
                os.replace(path, folder / path.name)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None


def _find(folder: Path) -> list[Path]:
    """Return the paths of a folder's pictures, in order; links and hidden files are left out."""
    listing = list_pictures(folder)
    if listing.problems:
        path, problem = next(iter(listing.problems.items()))
        raise UserError(f"{folder / path} cannot be read: {problem}")
    if not listing.entries:
        raise UserError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return [folder.joinpath(*entry.parts) for entry in listing.entries]


def _decoded(path: Path, side: int) -> Decoded:
    try:
        return decode(path.read_bytes(), side)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"{path} cannot be read as a picture: {error}") from None


def _told_apart(names: Sequence[str]) -> list[str]:
    """Return names of which no two are equal on any disk: tom, Tom becomes tom, Tom-2."""
    taken: set[str] = set()
    apart = []
    for name in names:
        other, number = name, 1
        while other.casefold() in taken:
            number += 1
            other = f"{name}-{number}"
        taken.add(other.casefold())
        apart.append(other)
    return apart


def _place(folder: Path, name: str, source: str) -> Path:
    """Return the path of an image's PNG file, and make its folder; it is always inside `folder`."""
    path = folder / f"{name}.png"
    if not path.is_relative_to(folder) or ".." in path.relative_to(folder).parts:
        raise UserError(f"{source} names a picture outside of its folder, {name}: do not trust it")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
