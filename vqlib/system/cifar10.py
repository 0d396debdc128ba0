"""CIFAR-10: found on disk, unpacked, or downloaded, and checked."""

import os
from pathlib import Path

import numpy as np

from vqlib.errors import UserError
from vqlib.system.data import Arrays, aside_of, data_root


class Cifar10UnavailableError(UserError):
    """CIFAR-10 is not on disk and could not be downloaded."""


def read_cifar10() -> Arrays:
    """Return CIFAR-10; it is unpacked or downloaded if need be, and its md5 is checked.

    Raises:
        Cifar10UnavailableError: if it is not there and cannot be downloaded.
        UserError: if it is damaged.
    """
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

    root = data_root()
    if (root / "data_batch_1").is_file():
        raise UserError(
            f"{root} holds the files of CIFAR-10 themselves: set VQLIB_DATA to the folder with "
            f"{CIFAR10.base_folder}"
        )
    try:
        if not (root / CIFAR10.base_folder).is_dir():
            _download_cifar10(root)
        train, test = Cifar10(root, train=True), Cifar10(root, train=False)
    except RuntimeError as error:  # torchvision's md5 check
        raise UserError(
            f"CIFAR-10 in {root / CIFAR10.base_folder} is damaged or incomplete: "
            f"{_wrong_file(root / CIFAR10.base_folder) or error}. "
            "Delete that folder to have it downloaded again, or point VQLIB_DATA at a good copy."
        ) from None
    except OSError as error:
        raise UserError(f"CIFAR-10 in {root} cannot be read: {error}.") from None
    return Arrays(
        train.data,
        test.data,
        np.array(train.targets),
        np.array(test.targets),
        tuple(train.classes),
        "CIFAR-10's own training and test images.",
    )


def _download_cifar10(root: Path) -> None:
    """Unpack or download it aside, then rename: what has the data's name is whole."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    folder = CIFAR10.base_folder
    try:
        with aside_of(root) as aside:
            if not (root / folder).is_dir():  # another process may have made it
                packed = root / CIFAR10.filename
                if packed.is_file():
                    (aside / packed.name).symlink_to(packed)
                CIFAR10(aside, download=True)
                os.replace(aside / folder, root / folder)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "reason", error)
        packed = root / CIFAR10.filename
        if packed.is_file() and not check_integrity(packed, CIFAR10.tgz_md5):
            reason = f"{reason}, and {packed.name} there has another md5 than {CIFAR10.tgz_md5}"
        raise Cifar10UnavailableError(
            f"CIFAR-10 is not in {root} and could not be downloaded ({reason}): set VQLIB_DATA "
            f"to the folder that holds {folder} or {packed.name}."
        ) from None


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
