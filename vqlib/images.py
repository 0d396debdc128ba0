"""Images as one uint8 tensor in memory: CIFAR-10, scikit-image's photographs, or any folder."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import md5
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vqlib.errors import UserError
from vqlib.paths import ROOT
from vqlib.system.files import sole_writer

SIZE = 32
IMAGE_SHAPE = (3, SIZE, SIZE)
TEST_SHARE = 0.1  # of a folder without train/ and test/
PHOTOS = {  # no photograph is in both splits
    "train": (
        *("astronaut", "hubble_deep_field", "immunohistochemistry"),
        *("motorcycle", "retina", "rocket"),
    ),
    "test": ("cat", "coffee"),
}
ABOUT_PHOTOS = (
    "Crops of photographs that come with scikit-image, resized to 32×32; no photograph is in both "
    "training and test images."
)
PHOTO_CROPS = {"train": 12_000, "test": 2_000}
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif"}


@dataclass(frozen=True)
class Images:
    """A data set in memory; tensors of another kind or shape are a `UserError`.

    Attributes:
        name: the data set as `load_images` was asked for it.
        train: uint8 (N, 3, 32, 32), channels_last; N at least 1.
        test: uint8 (M, 3, 32, 32), channels_last; M at least 1.
        limit: as `load_images` was asked for it.
        about: a sentence on what the images are and how they were split.
    """

    name: str
    train: Tensor
    test: Tensor
    limit: int | None = None
    about: str = ""

    def __post_init__(self) -> None:
        check_images(self.train, f"{self.name}: train")
        check_images(self.test, f"{self.name}: test")

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
        }

    @property
    def digest(self) -> str:
        """md5 of all pixels: equal if two runs saw the same images."""
        total = md5(usedforsecurity=False)
        for split in (self.train, self.test):
            total.update(split.permute(0, 2, 3, 1).contiguous().numpy().data)
        return total.hexdigest()


def load_images(dataset: str = "cifar10", limit: int | None = None) -> Images:
    """Load a data set as uint8 images of 32×32 RGB.

    Args:
        dataset: `cifar10` (found under $VQLIB_DATA or data/, else downloaded; its md5 is
            checked), `photos` (crops of photographs that scikit-image carries: offline, always
            the same), or a folder of images. If the folder has no sub-folders train and test,
            every tenth picture is a test image.
        limit: take only the first so many images of each split; at least 1.

    Raises:
        UserError: if the data cannot be had or used; the message says what to do.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit must be above 0, got {limit}")
    if dataset == "cifar10":
        (train, test), about = _cifar10(), "CIFAR-10's own training and test images."
    elif dataset == "photos":
        train, test, about = _photos("train", limit), _photos("test", limit), ABOUT_PHOTOS
    else:
        train, test, about = _folder(dataset)
    return Images(dataset, _tensor(train[:limit]), _tensor(test[:limit]), limit, about)


def read_pictures(paths: Sequence[Path]) -> tuple[Tensor, int]:
    """Return pictures of any sizes as images, and how many of them had to be resized.

    Args:
        paths: files of plain RGB of 8 bits.

    Returns:
        uint8 (N, 3, 32, 32), channels_last, centre-cropped and resized; and a number.

    Raises:
        UserError: if one cannot be read or is not plain RGB; the message names it.
    """
    pictures = np.empty((len(paths), SIZE, SIZE, 3), np.uint8)
    resized = 0
    for pixels, path in zip(pictures, paths, strict=True):
        picture = _read_picture(path)
        resized += picture.size != (SIZE, SIZE)
        pixels[:] = _fitted(picture)
    return _tensor(pictures), resized


def resolve_dataset(dataset: str, tell: Callable[[str], None] = print) -> str:
    """Return the data set that `auto` stands for: `cifar10` if it can be had, else `photos`.

    Say so if it is `photos`. Any other name is returned as it is.
    """
    if dataset != "auto":
        return dataset
    try:
        _cifar10()
    except Cifar10UnavailableError as error:
        tell(f"{error} Using photos instead: crops of scikit-image's photographs.")
        return "photos"
    return "cifar10"


def check_images(images: Tensor, what: str) -> None:
    """Refuse anything but one or more uint8 images of 32×32 RGB; `what` names them."""
    shape = tuple(images.shape)
    if images.dtype != torch.uint8 or shape[1:] != IMAGE_SHAPE or not shape[0]:
        kind = str(images.dtype).removeprefix("torch.")
        raise UserError(f"{what} images must be uint8 (N, 3, {SIZE}, {SIZE}), got {kind} {shape}")


def scale(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1]."""
    return images.float().div_(255)


class Cifar10UnavailableError(UserError):
    """CIFAR-10 is not on disk and could not be downloaded."""


def _cifar10() -> tuple[np.ndarray, np.ndarray]:
    from torchvision.datasets import CIFAR10  # takes a second to import

    class Cifar10(CIFAR10):
        """Takes the md5 again only if a file has changed since this process took it."""

        def _check_integrity(self) -> bool:
            folder = Path(self.root, self.base_folder)
            before = _file_marks(folder)
            if _good_marks.get(folder) != before:
                if not super()._check_integrity():
                    return False
                _good_marks[folder] = before
            return True

    given = os.environ.get("VQLIB_DATA")
    root = Path(given or ROOT / "data")
    if (root / "data_batch_1").is_file():
        raise UserError(
            f"{root} holds the files of CIFAR-10 themselves: set VQLIB_DATA to the folder with "
            f"{CIFAR10.base_folder}"
        )
    if given and not root.is_dir():
        raise UserError(
            f"VQLIB_DATA is {given!r}, which is not a folder: give the folder that holds "
            f"{CIFAR10.base_folder}, or one to download it to"
        )
    try:
        if not (root / CIFAR10.base_folder).is_dir():
            _download_cifar10(root)
        return Cifar10(root, train=True).data, Cifar10(root, train=False).data
    except RuntimeError as error:  # torchvision's md5 check
        raise UserError(
            f"CIFAR-10 in {root / CIFAR10.base_folder} is damaged or incomplete: "
            f"{_wrong_file(root / CIFAR10.base_folder) or error}. "
            "Delete that folder to have it downloaded again, or point VQLIB_DATA at a good copy."
        ) from None
    except OSError as error:
        raise UserError(f"CIFAR-10 in {root} cannot be read: {error}.") from None


def _wrong_file(folder: Path) -> str | None:
    """Return what is wrong with the first bad file of CIFAR-10."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    for name, wanted in CIFAR10.train_list + CIFAR10.test_list:
        if not check_integrity(folder / name, wanted):
            return (
                f"{name} has another md5 than {wanted}"
                if (folder / name).is_file()
                else (f"{name} is missing")
            )
    return None


_good_marks: dict[Path, dict[str, tuple[int, ...]]] = {}  # of folders whose md5 was right


def _file_marks(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what changes when a file does: its place on disk, size, and both of its times.

    The second time is the system's own, which nobody can set back.
    """
    stats = {path.name: path.stat() for path in folder.iterdir()}
    return {name: (s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats.items()}


def _download_cifar10(root: Path) -> None:
    """Download and unpack aside, then rename: what has the data's name is whole."""
    from torchvision.datasets import CIFAR10

    aside = root / ".download"
    try:
        aside.mkdir(parents=True, exist_ok=True)
        with sole_writer(aside):
            if not (root / CIFAR10.base_folder).is_dir():  # another process may have made it
                CIFAR10(aside, download=True)
                os.replace(aside / CIFAR10.base_folder, root / CIFAR10.base_folder)
        shutil.rmtree(aside, ignore_errors=True)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "reason", error)
        raise Cifar10UnavailableError(
            f"CIFAR-10 is not in {root} and could not be downloaded ({reason}): set VQLIB_DATA "
            f"to the folder that holds {CIFAR10.base_folder}."
        ) from None


def _photos(split: str, limit: int | None) -> np.ndarray:
    """Return square crops of several sizes at seeded places, resized to 32×32, some mirrored.

    Args:
        split: `train` or `test`.
        limit: at most so many; cutting all of them takes seconds.
    """
    from skimage import data

    photographs = []
    for name in PHOTOS[split]:
        pixels = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
        photographs.append(Image.fromarray(pixels))
    generator = np.random.default_rng(0 if split == "train" else 1)
    count = min(limit or PHOTO_CROPS[split], PHOTO_CROPS[split])
    crops = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for crop in crops:
        photograph = photographs[generator.integers(len(photographs))]
        side = int(generator.integers(SIZE, min(photograph.size) // 2))
        left, top = (int(generator.integers(0, length - side + 1)) for length in photograph.size)
        box = (left, top, left + side, top + side)
        small = photograph.resize((SIZE, SIZE), Image.Resampling.BOX, box=box)
        pixels = np.asarray(small)
        crop[:] = pixels[:, ::-1] if generator.random() < 0.5 else pixels
    return crops


def _folder(dataset: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Return the training and the test pictures of a folder, and a sentence about them."""
    try:
        root = Path(dataset).expanduser()
        found = root.is_dir()
    except (OSError, RuntimeError, ValueError):  # a name that no folder can have
        found = False
    if not found:
        raise UserError(
            f"unknown dataset {dataset!r}: give cifar10, photos, or a folder of images that exists"
        )
    splits = {path.name.lower(): path for path in root.iterdir() if path.is_dir()}
    given = [split for split in ("train", "test") if split in splits]
    if len(given) == 1:
        raise UserError(f"{root} has a folder {given[0]}, but not both train and test")
    if given:
        train, test = (find_pictures(splits[split]) for split in given)
        pixels, about = _read_alike(root, train + test)
        about += " The split is that of the folders train and test."
        return pixels[: len(train)], pixels[len(train) :], about
    pictures = find_pictures(root)
    if len(pictures) < 2:
        raise UserError(f"{root} holds one picture: training and testing need at least two")
    pixels, about = _read_alike(root, pictures)
    is_test = np.arange(len(pixels)) % round(1 / TEST_SHARE) == 1
    about += " In order of their paths, every tenth picture is a test image."
    return pixels[~is_test], pixels[is_test], about


def find_pictures(folder: Path) -> list[Path]:
    """Return every picture in a folder and its sub-folders, in order; skip hidden files."""

    def refuse(error: OSError) -> NoReturn:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from None

    files = []
    for above, below, names in os.walk(folder, onerror=refuse, followlinks=True):
        below[:] = [name for name in below if name[0] != "."]
        files += [Path(above, name) for name in names if name[0] != "."]
    found = sorted(path for path in files if path.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    if others := {path.suffix or path.name for path in files} - {path.suffix for path in found}:
        print(f"{folder}: left out what is not a picture: {', '.join(sorted(others))}")
    return found


def _read_alike(folder: Path, paths: list[Path]) -> tuple[np.ndarray, str]:
    """Return the pixels (N, 32, 32, 3) of pictures of one size, and a sentence about them."""
    size = _read_picture(paths[0]).size
    about = f"Pictures of {size[0]}×{size[1]} pixels"
    if size != (SIZE, SIZE):
        about += ", centre-cropped and resized to 32×32"
        print(f"{folder}: {about[0].lower()}{about[1:]}")
    pictures = np.empty((len(paths), SIZE, SIZE, 3), np.uint8)
    for pixels, path in zip(pictures, paths, strict=True):
        picture = _read_picture(path)
        if picture.size != size:
            raise UserError(
                f"{folder} mixes sizes: {paths[0].name} is {size[0]}×{size[1]}, "
                f"{path.name} is {picture.size[0]}×{picture.size[1]}. Make them all of one size."
            )
        pixels[:] = _fitted(picture)
    return pictures, f"{about}."


def _fitted(picture: Image.Image) -> np.ndarray:
    """Return a picture's pixels (32, 32, 3), centre-cropped and resized."""
    return np.asarray(ImageOps.fit(picture, (SIZE, SIZE), Image.Resampling.BOX))


def _read_picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            problem = _unlike_rgb(picture)
            upright = ImageOps.exif_transpose(picture)  # as a camera was held
    except Exception as error:  # Pillow raises almost anything for a damaged picture
        raise UserError(f"{path} cannot be read as a picture: {error}") from None
    if problem:
        raise UserError(f"{path} is not plain RGB of 8 bits ({problem}): convert it first")
    return upright


def _unlike_rgb(picture: Image.Image) -> str | None:
    """Return what an opened picture is if it is not plain RGB of 8 bits, else None.

    Pillow would silently take an animation's first frame, drop transparency and cut 16 bits to 8.
    """
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # a camera's JPEG
        return f"{frames} frames"
    if 0 in picture.size:
        return "no pixels"
    if picture.mode != "RGB":
        return f"mode {picture.mode}"
    if "transparency" in picture.info:
        return "transparency"
    if any(";16" in str(tile.args) for tile in getattr(picture, "tile", [])):
        return "16 bits"
    return None


def _tensor(pixels: np.ndarray) -> Tensor:
    """Return (N, 32, 32, 3) as (N, 3, 32, 32) without a copy: channels_last."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
