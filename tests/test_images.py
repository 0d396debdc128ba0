"""Data sets: the photos, and CIFAR-10 if it is there."""

import hashlib
import os
import pickle
import shutil
import urllib.error
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from albums import tarred, write
from conftest import refusal
from faults import flip_a_bit
from torch import Tensor

from vqlib import Images, TrainConfig, load_images
from vqlib.images import IMAGE_SHAPE, PHOTO_CROPS, PHOTOS, resolve_dataset, scale
from vqlib.system.files import sole_writer

Output = pytest.CaptureFixture[str]


def rows(images: Tensor) -> set[bytes]:
    """Return the pixels of each image as bytes, to compare sets of images."""
    return {image.numpy().tobytes() for image in images.permute(0, 2, 3, 1).contiguous()}


# --- any data set --------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize(
    ("train", "got"),
    [
        (torch.zeros(2, 3, 32, 32), "float32 (2, 3, 32, 32)"),
        (torch.zeros(2, 3, 28, 28, dtype=torch.uint8), "uint8 (2, 3, 28, 28)"),
        (torch.zeros(2, 32, 32, 3, dtype=torch.uint8), "uint8 (2, 32, 32, 3)"),
        (torch.zeros(3, 32, 32, dtype=torch.uint8), "uint8 (3, 32, 32)"),
        (torch.zeros(0, 3, 32, 32, dtype=torch.uint8), "uint8 (0, 3, 32, 32)"),
        (torch.zeros(2, 3, 32, 48, dtype=torch.uint8), "uint8 (2, 3, 32, 48)"),
        (torch.zeros(2, 3, 0, 0, dtype=torch.uint8), "uint8 (2, 3, 0, 0)"),
    ],
)
def test_tensors_that_are_no_images_are_refused(train: Tensor, got: str) -> None:
    good = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    expected = "uint8 (N, 3, 32, 32)"
    refusal(lambda: Images("mine", train, good), "mine", "train", expected, f"got {got}")
    refusal(lambda: Images("mine", good, train), "mine", "test", expected, f"got {got}")


@pytest.mark.faults
def test_training_and_test_images_of_two_sizes_are_refused() -> None:
    train, test = (torch.zeros(2, 3, side, side, dtype=torch.uint8) for side in (32, 48))
    refusal(lambda: Images("mine", train, test), "mine", "32×32", "48×48")


def test_variance_is_that_of_the_training_pixels(photos: Images) -> None:
    some = Images("photos", photos.train[:2000], photos.test)
    expected = (some.train.numpy() / 255.0).var()
    assert some.variance == pytest.approx(expected, rel=1e-9)


def test_the_digest_tells_images_and_splits_apart(few_photos: Images) -> None:
    changed = few_photos.train.clone()
    changed[3, 1, 4, 1] ^= 1
    digests = {
        few_photos.digest,
        Images("photos", changed, few_photos.test).digest,
        Images("photos", few_photos.train, few_photos.test.flip(0)).digest,
        Images("photos", few_photos.train.flip(0), few_photos.test).digest,
    }
    assert len(digests) == 4
    assert Images("other name", few_photos.train, few_photos.test).digest == few_photos.digest


@pytest.mark.faults
def test_a_limit_of_one_is_one_image_of_each_split(picture_folder: Path) -> None:
    images = load_images(str(picture_folder), 1)
    assert (len(images.train), len(images.test)) == (1, 1)


@pytest.mark.faults
@pytest.mark.parametrize("limit", [0, -1, -(10**9)])
def test_a_limit_below_one_is_refused(picture_folder: Path, limit: int) -> None:
    for ask in (
        lambda: load_images(str(picture_folder), limit),
        lambda: TrainConfig(limit=limit),
    ):
        refusal(ask, "limit must be above 0", f"got {limit}")


def test_scale_gives_float32_in_zero_to_one() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    scaled = scale(levels)
    assert scaled.dtype == torch.float32
    np.testing.assert_array_equal(scaled, np.arange(256, dtype=np.float32) / np.float32(255))
    assert levels[255] == 255  # the images themselves are left as they are


# --- CIFAR-10 ------------------------------------------------------------------------------

FOLDER = "cifar-10-batches-py"
ASKS: tuple[Callable[[], object], ...] = (
    lambda: load_images("cifar10"),
    lambda: resolve_dataset("auto"),
)


def test_cifar10_is_that_of_its_files(cifar10_root: Path) -> None:
    images = load_images("cifar10")

    def raw(name: str) -> np.ndarray:
        with (cifar10_root / FOLDER / name).open("rb") as file:
            return pickle.load(file, encoding="bytes")[b"data"]

    train = np.concatenate([raw(f"data_batch_{n}") for n in range(1, 6)])
    assert np.array_equal(images.train, train.reshape(50_000, 3, 32, 32))
    assert np.array_equal(images.test, raw("test_batch").reshape(10_000, 3, 32, 32))
    assert images.train.is_contiguous(memory_format=torch.channels_last)
    assert images.variance == pytest.approx(0.06329, abs=5e-6)


def test_cifar10_has_its_labels_and_its_classes_in_its_own_order(cifar10_root: Path) -> None:
    from torchvision.datasets import CIFAR10

    images = load_images("cifar10", 100)
    for is_train, labels in ((True, images.labels), (False, images.test_labels)):
        assert labels is not None
        theirs = CIFAR10(cifar10_root, train=is_train)
        assert labels.tolist() == theirs.targets[:100]
        assert list(images.classes) == theirs.classes


def test_cifar10_is_resized_if_asked_and_that_is_told(
    tiny_cifar10: SimpleNamespace, capsys: Output
) -> None:
    small, large = load_images("cifar10", image_size=16), load_images("cifar10", image_size=64)
    assert "from 32×32 to 64×64" in large.about
    assert large.about in capsys.readouterr().out
    images = load_images("cifar10")
    assert capsys.readouterr().out == ""
    assert torch.equal(large.train[:, :, ::2, ::2], images.train)
    means = torch.nn.functional.avg_pool2d(images.train.double(), 2)
    torch.testing.assert_close(small.train.double(), means, atol=1, rtol=0)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["test_batch", "data_batch_3"])
@pytest.mark.parametrize(("damage", "cause"), [("flipped bit", "md5"), ("missing", "is missing")])
def test_damaged_cifar10_is_refused_by_file(
    cifar10_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    damage: str,
    cause: str,
) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    for path in (cifar10_root / FOLDER).iterdir():
        if path.name != name:
            (folder / path.name).symlink_to(path)
        elif damage == "flipped bit":
            shutil.copy(path, folder / name)
            flip_a_bit(folder / name)
    monkeypatch.setenv("VQLIB_DATA", str(tmp_path))
    for ask in ASKS:
        refusal(ask, folder, "damaged or incomplete", name, cause)


def tiny_files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return the files of a CIFAR-10 of two images a file, and let torchvision know their md5."""
    from torchvision.datasets import CIFAR10

    files = {}
    for number, name in enumerate([f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]):
        pixels = np.random.default_rng(number).integers(0, 256, (2, 3072), np.uint8)
        files[name] = pickle.dumps({"data": pixels, "labels": [0, 1]})
    files["batches.meta"] = pickle.dumps({"label_names": ["a", "b"]})
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(
        CIFAR10, "train_list", [[f"data_batch_{n}", sums[f"data_batch_{n}"]] for n in range(1, 6)]
    )
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
    return files


@pytest.fixture
def tiny_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Make CIFAR-10 two images a file, to be downloaded; count how often an md5 is taken."""
    from torchvision.datasets import CIFAR10, cifar

    files, seen = tiny_files(monkeypatch), SimpleNamespace(root=tmp_path, md5=0, stop_after=None)
    check = cifar.check_integrity

    def counted(path: str, md5: str) -> bool:
        seen.md5 += "batches.meta" not in path
        return check(path, md5)

    def download(self: CIFAR10) -> None:
        folder = Path(self.root, self.base_folder)
        folder.mkdir(exist_ok=True)
        for number, (name, content) in enumerate(files.items()):
            if number == seen.stop_after:
                (folder / name).write_bytes(content[:100])
                raise KeyboardInterrupt
            (folder / name).write_bytes(content)

    monkeypatch.setattr(cifar, "check_integrity", counted)
    monkeypatch.setattr(CIFAR10, "download", download)
    monkeypatch.setenv("VQLIB_DATA", str(tmp_path))
    return seen


@pytest.mark.faults
def test_cifar10_s_archive_is_unpacked_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    files = tiny_files(monkeypatch)
    for name, content in files.items():
        write(tmp_path / "made" / FOLDER / name, content)
    (tmp_path / "data").mkdir()
    packed = tarred(tmp_path / "made" / FOLDER, tmp_path / "data" / CIFAR10.filename)
    monkeypatch.setenv("VQLIB_DATA", str(tmp_path / "data"))
    refusal(lambda: load_images("cifar10"), packed.name, "another md5", CIFAR10.tgz_md5)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(packed.read_bytes()).hexdigest())
    assert len(load_images("cifar10").train) == 10
    assert sorted(path.name for path in packed.parent.iterdir()) == sorted([FOLDER, packed.name])


@pytest.mark.faults
def test_md5_is_taken_once_in_a_process_and_again_if_a_file_changed(
    tiny_cifar10: SimpleNamespace,
) -> None:
    images = load_images("cifar10")
    assert (len(images.train), len(images.test)) == (10, 2)
    once = tiny_cifar10.md5
    assert once >= 6  # each file
    load_images("cifar10")
    assert tiny_cifar10.md5 == once

    path = tiny_cifar10.root / FOLDER / "data_batch_2"
    times = path.stat()
    path.write_bytes(path.read_bytes())
    load_images("cifar10")
    assert tiny_cifar10.md5 > once

    flip_a_bit(path)  # as long as before, and as old by its own account
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    facts = (path.parent, "damaged or incomplete", "VQLIB_DATA")
    refusal(lambda: load_images("cifar10"), *facts)


@pytest.mark.faults
def test_a_data_folder_that_is_one_too_deep_is_refused(
    tiny_cifar10: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_images("cifar10")
    deeper = tiny_cifar10.root / FOLDER
    monkeypatch.setenv("VQLIB_DATA", str(deeper))
    refusal(lambda: load_images("cifar10"), "VQLIB_DATA", deeper)


@pytest.mark.faults
def test_a_data_folder_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # neither made nor passed over in favour of other images: it may be a slip
    folder = tmp_path / "nowhere"
    monkeypatch.setenv("VQLIB_DATA", str(folder))
    for ask in ASKS:
        refusal(ask, "VQLIB_DATA", folder)
    assert not folder.exists()


@pytest.mark.faults
@pytest.mark.parametrize("files", [0, 3, 6])
def test_an_interrupted_download_leaves_nothing_under_the_name_of_the_data(
    tiny_cifar10: SimpleNamespace, files: int
) -> None:
    tiny_cifar10.stop_after = files
    with pytest.raises(KeyboardInterrupt):
        load_images("cifar10")
    assert not (tiny_cifar10.root / FOLDER).exists()
    tiny_cifar10.stop_after = None
    assert len(load_images("cifar10").train) == 10
    assert [path.name for path in tiny_cifar10.root.iterdir()] == [FOLDER]


@pytest.mark.faults
def test_of_two_downloads_at_once_one_is_refused_and_no_other_data_taken(
    tiny_cifar10: SimpleNamespace,
) -> None:
    with sole_writer(tiny_cifar10.root / ".download"):
        for ask in ASKS:
            refusal(ask, "another process", f"pid {os.getpid()}")


@pytest.fixture
def no_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a download fail, and return the empty data folder."""
    from torchvision.datasets import CIFAR10

    def fail(_self: CIFAR10) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(CIFAR10, "download", fail)
    monkeypatch.setenv("VQLIB_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.faults
def test_without_a_network_a_missing_cifar10_says_what_to_do(no_cifar10: Path) -> None:
    facts = (no_cifar10, "Name or service not known", "VQLIB_DATA")
    refusal(lambda: load_images("cifar10"), *facts)
    assert not (no_cifar10 / FOLDER).exists()


def test_auto_falls_back_to_photos_and_says_so_once(no_cifar10: Path) -> None:
    told: list[str] = []
    assert resolve_dataset("auto", told.append) == "photos"
    (line,) = told
    assert "photos" in line
    assert str(no_cifar10) in line


def test_auto_falls_back_if_the_data_folder_cannot_be_made(
    no_cifar10: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    def fail(_self: CIFAR10) -> None:
        raise PermissionError(13, "Permission denied", str(no_cifar10))

    monkeypatch.setattr(CIFAR10, "download", fail)
    told: list[str] = []
    assert resolve_dataset("auto", told.append) == "photos"
    assert "Permission denied" in told[0]


def test_auto_is_cifar10_if_it_is_there(cifar10_root: Path) -> None:
    told: list[str] = []
    assert resolve_dataset("auto", told.append) == "cifar10"
    assert told == []


@pytest.mark.parametrize("dataset", ["cifar10", "photos", "some/folder"])
def test_other_data_sets_than_auto_are_taken_as_they_are(no_cifar10: Path, dataset: str) -> None:
    assert resolve_dataset(dataset) == dataset


# --- photos --------------------------------------------------------------------------------


def test_photos_are_always_the_same(photos: Images) -> None:
    total = hashlib.md5()
    for split in (photos.train, photos.test):
        total.update(split.permute(0, 2, 3, 1).numpy().tobytes())
    assert total.hexdigest() == photos.digest == "3c0dbf7734b10d28c61afbbc0ec0156f"


@pytest.mark.parametrize("split", PHOTO_CROPS)
def test_photos_are_uint8_with_the_colours_last_in_memory(photos: Images, split: str) -> None:
    images = getattr(photos, split)
    assert images.shape == (PHOTO_CROPS[split], *IMAGE_SHAPE)
    assert images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_photos_of_another_size_show_more_of_the_same_photographs() -> None:
    images = load_images("photos", limit=50, image_size=64)
    assert images.train.shape == (50, 3, 64, 64)
    assert "64×64" in images.about


def test_no_photograph_is_in_both_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    # each photograph is made one flat colour: a crop then tells which it is from
    names = sorted({name for split in PHOTOS.values() for name in split})
    for number, name in enumerate(names):
        flat = np.full((96, 96, 3), number, np.uint8)
        if name == "motorcycle":
            monkeypatch.setattr(skimage.data, "stereo_motorcycle", lambda flat=flat: (flat,) * 3)
        else:
            monkeypatch.setattr(skimage.data, name, lambda flat=flat: flat)
    images = load_images("photos")
    train, test = set(images.train.unique().tolist()), set(images.test.unique().tolist())
    assert len(train) == len(PHOTOS["train"])
    assert len(test) == len(PHOTOS["test"])
    assert not train & test


def test_photos_hold_hardly_a_crop_twice_and_none_in_both_splits(photos: Images) -> None:
    train, test = rows(photos.train), rows(photos.test)
    assert not train & test
    assert len(train) > 0.99 * len(photos.train)  # some crops of black sky are alike
    assert len(test) > 0.99 * len(photos.test)


# --- names ---------------------------------------------------------------------------------


@pytest.mark.faults
def test_a_missing_folder_is_refused_with_the_data_sets_there_are(tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    facts = ("unknown dataset", folder, "cifar10", "photos", "FashionMNIST", ".zip")
    refusal(lambda: load_images(str(folder)), *facts)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["~nosuchuser/pictures", "x" * 300, "a\0b"])
def test_a_name_that_no_folder_can_have_is_refused(name: str) -> None:
    refusal(lambda: load_images(name), "dataset")
