"""Images as one uint8 tensor in memory: CIFAR-10, scikit-image's photographs, or your pictures."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqlib.errors import UserError
from vqlib.system.cifar10 import Cifar10UnavailableError, read_cifar10
from vqlib.system.data import Arrays
from vqlib.system.folders import printable, read_folder
from vqlib.system.pictures import decode, quiet, square
from vqlib.system.torchvision_sets import is_torchvision, read_torchvision, torchvision_name

SIZE = 32
STEP = 16  # sizes of images are multiples of it, for the encoders halve them four times
IMAGE_SHAPE = (3, SIZE, SIZE)
PHOTOS = {  # no photograph is in both splits
    "train": (
        *("astronaut", "hubble_deep_field", "immunohistochemistry"),
        *("motorcycle", "retina", "rocket"),
    ),
    "test": ("cat", "coffee"),
}
PHOTO_CROPS = {"train": 12_000, "test": 2_000}


@dataclass(frozen=True)
class Images:
    """A data set in memory; tensors of another kind or shape are a `UserError`.

    Attributes:
        name: the data set as `load_images` was asked for it.
        train: uint8 (N, 3, 32, 32), channels_last; N at least 1. S may be another size.
        test: uint8 (M, 3, 32, 32), channels_last; M at least 1.
        limit: as `load_images` was asked for it.
        about: sentences on what the images are, what was converted, and how they were split.
        labels: int64 (N,), the number of each training image's class; None if there are none.
        test_labels: int64 (M,), the same for the test images.
        classes: the names of the classes, in the order of the data set.
        n_unreadable: how many pictures were left out because they cannot be read.
    """

    name: str
    train: Tensor
    test: Tensor
    limit: int | None = None
    about: str = ""
    labels: Tensor | None = None
    test_labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    n_unreadable: int = 0

    def __post_init__(self) -> None:
        check_images(self.train, f"{self.name}: train")
        check_images(self.test, f"{self.name}: test")
        if self.train.shape[1:] != self.test.shape[1:]:
            sizes = (f"{split.shape[2]}×{split.shape[3]}" for split in (self.train, self.test))
            raise UserError(f"{self.name}: train and test images differ in size: {list(sizes)}")

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.train.shape[-1]

    @cached_property
    def variance(self) -> float:
        """Variance of the training pixels in [0, 1]; 0.06329 for CIFAR-10."""
        values = self.train.permute(0, 2, 3, 1).reshape(-1)  # a view if channels_last
        counts = torch.bincount(values, minlength=256).double()
        levels = torch.arange(256, dtype=torch.float64) / 255
        share = counts / counts.sum()
        mean = (share * levels).sum()
        return ((share * (levels - mean).square()).sum()).item()

    @property
    def facts(self) -> dict[str, Any]:
        """What a run records of its data."""
        return {
            "dataset": self.name,
            "data_md5": self.digest,
            "n_train": len(self.train),
            "n_test": len(self.test),
            "data_variance": self.variance,
            "about": self.about,
            "n_unreadable": self.n_unreadable,
        }

    @property
    def digest(self) -> str:
        """md5 of all pixels: equal if two runs saw the same images."""
        total = md5(usedforsecurity=False)
        for split in (self.train, self.test):
            total.update(split.permute(0, 2, 3, 1).contiguous().numpy().data)
        return total.hexdigest()


def load_images(
    dataset: str = "cifar10",
    limit: int | None = None,
    image_size: int = SIZE,
    skip_unreadable: bool | None = None,
    tell: Callable[[str], None] = print,
) -> Images:
    """Load a data set as uint8 images of RGB.

    Args:
        dataset: `cifar10` (found under $VQLIB_DATA or data/, else downloaded; its md5 is
            checked), `photos` (crops of photographs that scikit-image carries: offline, always
            the same), a class of torchvision's data sets such as `FashionMNIST`, or a folder, .zip
            or .tar of pictures. If folders are named train and test, or val, they are the split;
            else every tenth picture is a test image.
        limit: use at most so many images of each split: those of a folder spread over its
            sub-folders, of other data sets the first; at least 1.
        image_size: side in pixels, a multiple of 16. Pictures of another size are cropped at the
            centre and resized.
        skip_unreadable: leave out pictures that cannot be read, and say so; None leaves them out
            if $VQLIB_SKIP_UNREADABLE is 1, which notebooks and studies obey too.
        tell: gets a line on what was read, converted and left out.

    Raises:
        UserError: if the data cannot be had or used; the message says what to do.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit must be above 0, got {limit}")
    if image_size < STEP or image_size % STEP:
        raise UserError(f"image_size must be a multiple of {STEP}, got {image_size}")
    if skip_unreadable is None:
        skip_unreadable = os.environ.get("VQLIB_SKIP_UNREADABLE", "") not in ("", "0")
    found = _find(dataset, limit, image_size, skip_unreadable)
    if dataset != "photos" and (dataset, image_size) != ("cifar10", SIZE):
        tell(f"{printable(dataset)}: {found.about}")
    return Images(
        dataset,
        _tensor(found.train),
        _tensor(found.test),
        limit,
        found.about,
        _labels(found.train_labels),
        _labels(found.test_labels),
        found.classes,
        found.n_unreadable,
    )


def resolve_dataset(dataset: str, tell: Callable[[str], None] = print) -> str:
    """Return the data set that `auto` stands for: `cifar10` if it can be had, else `photos`.

    Say so if it is `photos`. Any other name is returned as it is.
    """
    if dataset != "auto":
        return dataset
    try:
        read_cifar10()
    except Cifar10UnavailableError as error:
        tell(f"{error} Using photos instead: crops of scikit-image's photographs.")
        return "photos"
    return "cifar10"


def read_picture(path: str | Path, image_size: int = SIZE) -> Tensor:
    """Return one picture file as uint8 (3, image_size, image_size) of RGB.

    It is turned upright, cropped at the centre and resized; transparency becomes white.

    Raises:
        UserError: if it cannot be read; the message has its path.
    """
    try:
        with quiet():
            pixels = decode(Path(path).expanduser().read_bytes(), image_size).pixels
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"{path} cannot be read as a picture: {error}") from None
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def check_images(images: Tensor, what: str) -> None:
    """Refuse anything but one or more square uint8 images of RGB; `what` names them."""
    shape = tuple(images.shape)
    is_square = len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3]
    if images.dtype != torch.uint8 or not is_square or shape[2] % STEP or not all(shape):
        kind = str(images.dtype).removeprefix("torch.")
        raise UserError(
            f"{what} images must be uint8 (N, 3, {SIZE}, {SIZE}), or of another size that is a "
            f"multiple of {STEP}, got {kind} {shape}"
        )


def scale(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1]."""
    return images.float().div_(255)


def _find(dataset: str, limit: int | None, size: int, skip_unreadable: bool) -> Arrays:
    if dataset == "cifar10":
        return _of_size(read_cifar10(), limit, size)
    if dataset == "photos":
        train, test = (_photos(split, size, limit) for split in ("train", "test"))
        about = (
            "The images are crops of photographs that come with scikit-image, resized to "
            f"{size}×{size}. No photograph is in both training and test images."
        )
        return Arrays(train, test, None, None, (), about)
    if is_torchvision(dataset):
        return read_torchvision(dataset, size, limit)
    return read_folder(_existing(dataset), size, limit, skip_unreadable)


def _of_size(found: Arrays, limit: int | None, size: int) -> Arrays:
    """Return the first images of CIFAR-10 and their labels, resized if need be."""
    train, test = found.train[:limit], found.test[:limit]
    about = found.about
    if size != SIZE:
        about += f" They are resized from {SIZE}×{SIZE} to {size}×{size}."
        train, test = _resized(train, size), _resized(test, size)
    labels, test_labels = (None if some is None else some[:limit] for some in found[2:4])
    return Arrays(train, test, labels, test_labels, found.classes, about)


def _existing(dataset: str) -> Path:
    """Return the path of a folder or file."""
    try:
        root = Path(dataset).expanduser()
        found = root.exists()
    except (OSError, RuntimeError, ValueError):  # a name that no folder can have
        found = False
    if not found:
        raise UserError(
            f"unknown dataset {dataset!r}: give cifar10, photos, a data set of torchvision such as "
            "FashionMNIST, or a folder, .zip or .tar of pictures that exists"
            + (f" (torchvision has {name})" if (name := torchvision_name(dataset)) else "")
        )
    return root


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    return np.stack([square(Image.fromarray(image), size) for image in images])


def _photos(split: str, size: int, limit: int | None) -> np.ndarray:
    """Return square crops of several sizes at seeded places, resized, some mirrored.

    No crop is smaller than an image, unless half a photograph is.
    """
    from skimage import data

    photographs = []
    for name in PHOTOS[split]:
        pixels = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
        photographs.append(Image.fromarray(pixels))
    generator = np.random.default_rng(0 if split == "train" else 1)
    count = min(limit or PHOTO_CROPS[split], PHOTO_CROPS[split])
    crops = np.empty((count, size, size, 3), np.uint8)
    for crop in crops:
        photograph = photographs[generator.integers(len(photographs))]
        most = min(photograph.size) // 2
        side = int(generator.integers(min(size, most - 1), most))
        left, top = (int(generator.integers(0, length - side + 1)) for length in photograph.size)
        box = (left, top, left + side, top + side)
        small = photograph.resize((size, size), Image.Resampling.BOX, box=box)
        pixels = np.asarray(small)
        crop[:] = pixels[:, ::-1] if generator.random() < 0.5 else pixels
    return crops


def _tensor(pixels: np.ndarray) -> Tensor:
    """Return (N, H, W, 3) as (N, 3, H, W) without a copy: channels_last."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)


def _labels(numbers: np.ndarray | None) -> Tensor | None:
    return None if numbers is None else torch.from_numpy(numbers).long()
