"""torchvision's data sets by the names of their classes: found on disk, or downloaded."""

import inspect
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vqlib.errors import UserError
from vqlib.system.data import Arrays, aside_of, data_root
from vqlib.system.pictures import kinds_of, one_line, square, tell_kinds, tell_sizes, to_rgb
from vqlib.system.progress import counting
from vqlib.system.splits import TENTH

PARTS = {  # what torchvision's data sets call them
    "train": ("train", "trainval", "train-standard"),
    "test": ("test", "val", "valid"),
}
BASES = ("VisionDataset", "ImageFolder", "DatasetFolder")  # which are no data sets


def is_torchvision(dataset: str) -> bool:
    """Return whether a name is that of a class in torchvision.datasets, such as `SVHN`."""
    return torchvision_name(dataset) == dataset


@cache
def torchvision_name(dataset: str) -> str | None:
    """Return the class in torchvision.datasets with this name but for its capitals, or None."""
    if not dataset.isidentifier():
        return None
    from torchvision import datasets

    return next(
        (name for name in datasets.__all__ if name.lower() == dataset.lower() and _is_class(name)),
        None,
    )


def _is_class(name: str) -> bool:
    from torchvision import datasets

    made = getattr(datasets, name)
    return name not in BASES and inspect.isclass(made) and issubclass(made, datasets.VisionDataset)


def read_torchvision(name: str, side: int, limit: int | None) -> Arrays:
    """Return a data set of torchvision by the name of its class; download it if it is missing.

    Without a split of its own, every tenth picture is a test image.

    Args:
        name: such as `FashionMNIST`.
        side: of the squares that the pictures become.
        limit: read only the first so many of each split.

    Raises:
        UserError: if it cannot be had, or holds something other than pictures.
    """
    from torchvision import datasets

    made = getattr(datasets, name)
    root = data_root()
    try:
        parts = _parts(made, root)
    except (OSError, RuntimeError):  # as torchvision tells what is missing
        _download(made, root)
        parts = _parts(made, root)
    except (ImportError, TypeError) as error:  # it needs another package, or more to go by
        raise UserError(f"{name} cannot be read: {one_line(error)}") from None
    if len(parts) == 2:
        chosen, rule = (
            [range(len(part)) for part in parts],
            "Its own training and test images are used",
        )
    else:
        everything = range(len(parts[0]))
        tested = range(1, len(parts[0]), TENTH)
        chosen = [[i for i in everything if i not in tested], tested]  # type: ignore[list-item]
        parts, rule = parts * 2, "Every tenth picture is a test image"
    reading = _Reading(name, side)
    (train, train_labels), (test, test_labels) = (
        reading.read(part, indices[:limit]) for part, indices in zip(parts, chosen, strict=True)
    )
    return Arrays(
        train,
        test,
        train_labels,
        test_labels,
        _class_names(parts[0], train_labels, test_labels),
        f"{name} of torchvision: {reading.told()} {rule}.",
    )


class _Reading:
    """Reads items of torchvision's data sets as pictures, and counts what they were."""

    def __init__(self, name: str, side: int):
        self.name, self.side = name, side
        self.sizes: list[tuple[int, int]] = []
        self.kinds: list[int] = []

    def read(self, part: Any, indices: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Return pixels (N, side, side, 3) and labels (N,); None if there is no single label."""
        pixels = np.empty((len(indices), self.side, self.side, 3), np.uint8)
        labels: list[int] = []

        def one_by_one() -> Iterator[int]:
            for place, index in enumerate(indices):
                pixels[place] = self._square(part, index, labels)
                yield 1

        for _ in counting(one_by_one(), len(indices), f"pictures of {self.name} read"):
            pass
        return pixels, np.array(labels) if len(labels) == len(indices) else None

    def told(self) -> str:
        """Return sentences on the pictures' sizes and conversions."""
        return " ".join(
            [tell_sizes(np.array(self.sizes), self.side), *tell_kinds(np.array(self.kinds))]
        )

    def _square(self, part: Any, index: int, labels: list[int]) -> np.ndarray:
        try:
            picture, label = part[index][:2]
            self.kinds.append(kinds_of(picture))
            self.sizes.append(picture.size)
            rgb = to_rgb(picture)
        except Exception as error:  # whatever the data set gives in place of pictures
            raise UserError(
                f"item {index} of {self.name} is not a picture with a label, or cannot be read: "
                f"{one_line(error)}"
            ) from None
        with suppress(TypeError, ValueError):  # some have boxes or several labels
            labels.append(int(label))
        return square(rgb, self.side)


def _parts(made: type, root: Path, **options: Any) -> list[Any]:
    """Return a data set's training and test part, or all of it if it is not split."""
    names = inspect.signature(made).parameters
    if "root" in names:
        options["root"] = root
    if "train" in names:
        return [made(**options, train=is_train) for is_train in (True, False)]
    if "split" in names:
        return [_part(made, options, part) for part in PARTS]
    return [made(**options)]


def _part(made: type, options: dict[str, Any], part: str) -> Any:
    problem = ""
    for name in PARTS[part]:
        try:
            return made(**options, split=name)
        except ValueError as error:  # it has no part of this name
            problem = problem or one_line(error)
    raise UserError(f"{made.__name__} has no part for {part}ing: {problem}")


def _download(made: type, root: Path) -> None:
    """Download a data set aside, then move it: what has the data's name is whole."""
    try:
        if "download" not in inspect.signature(made).parameters:
            raise RuntimeError("torchvision does not download it")
        with aside_of(root) as aside:
            _link_what_is_there(made, root, aside)
            _parts(made, aside, download=True)
            for path in aside.iterdir():
                _move(path, root / path.name)
    except (OSError, RuntimeError, ImportError) as error:
        reason = getattr(error, "reason", None) or one_line(error)
        raise UserError(
            f"{made.__name__} is not in {root} and could not be downloaded ({reason}): "
            f"put its files there as torchvision does: {_places(made)}"
        ) from None


def _link_what_is_there(made: Any, root: Path, aside: Path) -> None:
    """Let torchvision find, aside, the files of the data set that are there but not unpacked."""
    for path in root.iterdir():
        if path.is_file() and path.name[0] != ".":
            (aside / path.name).symlink_to(path)
        elif path.is_dir() and path.name in (made.__name__, getattr(made, "base_folder", None)):
            shutil.copytree(path, aside / path.name, copy_function=os.symlink)


def _move(path: Path, target: Path) -> None:
    if path.is_dir() and target.is_dir():
        for below in path.iterdir():
            _move(below, target / below.name)
    elif not path.is_symlink() and path.name[0] != ".":
        os.replace(path, target)


def _places(made: Any) -> str:
    """Return the files of a data set, as far as its class names them, or where they belong."""
    resources, parts = getattr(made, "resources", None), getattr(made, "split_list", None)
    if isinstance(resources, list):
        return ", ".join(f"{made.__name__}/raw/{name.split('/')[-1]}" for name, _ in resources)
    if isinstance(parts, dict):
        return ", ".join(values[1] for values in parts.values())
    folder = f"the folder {getattr(made, 'base_folder', None) or made.__name__}"
    packed = getattr(made, "filename", None)
    return f"{packed} or {folder}" if packed else folder


def _class_names(part: Any, *labels: np.ndarray | None) -> tuple[str, ...]:
    highest = max((int(some.max()) for some in labels if some is not None), default=-1)
    names = tuple(map(str, getattr(part, "classes", None) or range(highest + 1)))
    return names if highest >= 0 else ()
