"""Data sets as arrays, and the folder where they are kept."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vqlib.errors import UserError
from vqlib.paths import HOME, LIBRARY, cache_folder, expanded, is_project
from vqlib.system.files import sole_writer


class Arrays(NamedTuple):
    """A data set in memory.

    Attributes:
        train, test: uint8 (N, side, side, 3).
        train_labels, test_labels: the number of each image's class; None if there is none.
        classes: the names of the classes, in the order of the data set.
        about: sentences on what the images are and how they were split.
        n_unreadable: how many pictures were left out because they cannot be read.
    """

    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None
    classes: tuple[str, ...]
    about: str
    n_unreadable: int = 0


def data_root() -> Path:
    """Return the folder of data sets: $VQLIB_DATA, which must exist, or data/.

    That is the folder `data` of the user's own folder, or of the checkout. Where there is neither,
    it is in the user's cache.
    """
    given = os.environ.get("VQLIB_DATA")
    root = expanded(given) if given else _default_root()
    if given and not root.is_dir():
        raise UserError(
            f"VQLIB_DATA is {given!r}, which is not a folder: give the folder that holds the data "
            "sets, such as cifar-10-batches-py, or one to download them to"
        )
    return root.absolute()


def _default_root() -> Path:
    own, cache = HOME / "data", cache_folder()
    if own.is_dir():
        return own
    if is_project(LIBRARY):
        return LIBRARY / "data"
    return cache / "data" if cache else own


@contextmanager
def aside_of(root: Path) -> Iterator[Path]:
    """Hold an empty folder for downloads in that of the data sets; remove it if all went well."""
    aside = root / ".download"
    aside.mkdir(parents=True, exist_ok=True)
    with sole_writer(aside):
        for left in aside.iterdir():  # by a download that was interrupted
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            elif left.name[0] != ".":  # not the lock
                left.unlink()
        yield aside
    shutil.rmtree(aside, ignore_errors=True)
