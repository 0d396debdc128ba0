"""Data sets: the photos, folders of pictures, and CIFAR-10 if it is there."""

import errno
import hashlib
import os
import pickle
import shutil
import struct
import urllib.error
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from conftest import examples, outcome, refusal
from faults import flip_a_bit
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from vqlib import Images, TrainConfig, load_images
from vqlib.images import IMAGE_SHAPE, PHOTO_CROPS, PHOTOS, resolve_dataset, scale
from vqlib.system.files import sole_writer

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
FLAT = np.full((32, 32, 3), (7, 100, 200), np.uint8)

Output = pytest.CaptureFixture[str]


def rows(images: Tensor) -> set[bytes]:
    """Return the pixels of each image as bytes, to compare sets of images."""
    return {image.numpy().tobytes() for image in images.permute(0, 2, 3, 1).contiguous()}


def pixels_of(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def write_picture(
    path: Path, seed: int = 0, size: tuple[int, int] = (32, 32), mode: str = "RGB"
) -> np.ndarray:
    """Write a picture of random pixels, and return them as (H, W, 3)."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return pixels


def encoded(kind: str, mode: str = "RGB", pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    """Return a picture as a file's content."""
    buffer, picture = BytesIO(), Image.fromarray(pixels).convert(mode)
    if mode == "RGBA":
        picture.putalpha(128)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


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
    ],
)
def test_tensors_that_are_no_images_are_refused(train: Tensor, got: str) -> None:
    good = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    expected = "uint8 (N, 3, 32, 32)"
    refusal(lambda: Images("mine", train, good), "mine", "train", expected, f"got {got}")
    refusal(lambda: Images("mine", good, train), "mine", "test", expected, f"got {got}")


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


def test_a_limit_takes_the_first_images_of_each_split(picture_folder: Path) -> None:
    whole, limited = load_images(str(picture_folder)), load_images(str(picture_folder), limit=7)
    assert torch.equal(limited.train, whole.train[:7])
    assert torch.equal(limited.test, whole.test[:7])
    beyond = load_images(str(picture_folder), limit=10**6)
    assert torch.equal(beyond.train, whole.train)


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


@pytest.fixture
def tiny_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Make CIFAR-10 two images a file, to be downloaded; count how often an md5 is taken."""
    from torchvision.datasets import CIFAR10, cifar

    files, seen = {}, SimpleNamespace(root=tmp_path, md5=0, stop_after=None)
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


# --- folders -------------------------------------------------------------------------------


def test_a_folder_with_train_and_test_is_read_in_order(tmp_path: Path) -> None:
    expected = {
        split: [
            write_picture(tmp_path / split / name / f"{number}.{suffix}", seed)
            for seed, (name, number, suffix) in enumerate(places, start)
        ]
        for split, start, places in (
            ("train", 0, [("cat", 1, "png"), ("cat", 2, "bmp"), ("dog", 1, "PNG")]),
            ("test", 100, [("cat", 9, "png"), ("dog", 7, "tif")]),
        )
    }
    (tmp_path / "train" / "notes.txt").write_text("not a picture")
    images = load_images(str(tmp_path))
    for split in ("train", "test"):
        loaded = getattr(images, split)
        assert loaded.dtype == torch.uint8
        assert loaded.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_array_equal([pixels_of(image) for image in loaded], expected[split])


def test_a_folder_in_torchvision_s_layout_is_read_in_its_order(picture_folder: Path) -> None:
    from torchvision.datasets import ImageFolder

    expected = [np.asarray(picture) for picture, _ in ImageFolder(picture_folder / "train")]
    images = load_images(str(picture_folder))
    np.testing.assert_array_equal([pixels_of(image) for image in images.train], expected)


def test_every_tenth_picture_of_a_flat_folder_is_for_testing(tmp_path: Path) -> None:
    written = {write_picture(tmp_path / f"{n:02}.png", n).tobytes() for n in range(40)}
    images = load_images(str(tmp_path))
    train, test = rows(images.train), rows(images.test)
    assert (len(train), len(test)) == (36, 4)
    assert train | test == written
    assert rows(load_images(str(tmp_path)).test) == test


def test_two_pictures_are_enough_for_a_flat_folder(tmp_path: Path) -> None:
    for number in range(2):
        write_picture(tmp_path / f"{number}.png", number)
    images = load_images(str(tmp_path))
    assert (len(images.train), len(images.test)) == (1, 1)


@pytest.mark.faults
def test_one_class_is_enough(picture_folder: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        shutil.copytree(picture_folder / split / "odd", tmp_path / split / "odd")
    images = load_images(str(tmp_path))
    assert (len(images.train), len(images.test)) == (20, 5)


@pytest.mark.faults
def test_a_missing_folder_is_refused_with_the_data_sets_there_are(tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    refusal(lambda: load_images(str(folder)), "unknown dataset", folder, "cifar10", "photos")


@pytest.mark.faults
@pytest.mark.parametrize("name", ["~nosuchuser/pictures", "x" * 300, "a\0b"])
def test_a_name_that_no_folder_can_have_is_refused(name: str) -> None:
    refusal(lambda: load_images(name), "dataset")


@pytest.mark.faults
def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "one.png")
    refusal(lambda: load_images(str(tmp_path / "one.png")), tmp_path / "one.png")


@pytest.mark.faults
def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    refusal(lambda: load_images(str(tmp_path)), tmp_path, "no pictures", ".png")


@pytest.mark.faults
def test_a_split_without_pictures_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "train" / "a.png")
    (tmp_path / "test").mkdir()
    refusal(lambda: load_images(str(tmp_path)), tmp_path / "test", "no pictures")


@pytest.mark.faults
def test_train_without_test_is_refused(tmp_path: Path) -> None:
    for split in ("Train", "val"):
        write_picture(tmp_path / split / "a.png")
    refusal(lambda: load_images(str(tmp_path)), tmp_path, "train", "not both")


@pytest.mark.faults
def test_a_single_picture_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    refusal(lambda: load_images(str(tmp_path)), tmp_path, "one picture")


@pytest.mark.faults
def test_a_folder_that_cannot_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_picture(tmp_path / "a.png")
    (tmp_path / "b").mkdir()
    scandir = os.scandir

    def denied(path: str) -> object:
        if Path(path).name == "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    refusal(lambda: load_images(str(tmp_path)), tmp_path / "b", "Permission denied")


@pytest.mark.faults
def test_pictures_in_a_linked_folder_count(tmp_path: Path) -> None:
    for number in range(3):
        write_picture(tmp_path / "elsewhere" / f"{number}.png", number)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "link").symlink_to(tmp_path / "elsewhere")
    images = load_images(str(tmp_path / "pictures"))
    assert len(images.train) + len(images.test) == 3


@pytest.mark.faults
def test_files_that_are_left_out_are_told(tmp_path: Path, capsys: Output) -> None:
    for name in ("a.png", "b.png", "c.jfif", "notes.txt", "Makefile"):
        (tmp_path / name).write_bytes(encoded("PNG"))
    load_images(str(tmp_path))
    (line,) = capsys.readouterr().out.splitlines()
    for fact in (str(tmp_path), ".jfif", ".txt", "Makefile"):
        assert fact in line
    assert ".png" not in line


def test_hidden_files_are_no_pictures(tmp_path: Path, capsys: Output) -> None:
    for number in range(2):
        write_picture(tmp_path / f"{number}.png", number)
    for hidden in (".0.png", ".cache/1.png"):
        (tmp_path / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / hidden).write_bytes(b"another program's")
    images = load_images(str(tmp_path))
    assert len(images.train) + len(images.test) == 2
    assert capsys.readouterr().out == ""


def test_a_folder_named_like_a_picture_is_no_picture(tmp_path: Path) -> None:
    for number in range(2):
        write_picture(tmp_path / "icons.png" / f"{number}.png", number)
    images = load_images(str(tmp_path))
    assert len(images.train) + len(images.test) == 2


# --- pictures ------------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("side", [5, 32, 53])
def test_plain_rgb_is_taken_whatever_its_format_and_size(
    tmp_path: Path, capsys: Output, kind: str, side: int
) -> None:
    for number in range(2):
        picture = Image.fromarray(PIXELS).resize((side, side))
        picture.save(tmp_path / f"{number}.{kind.lower()}")
    assert load_images(str(tmp_path)).train.shape == (1, 3, 32, 32)
    assert (f"{side}×{side}" in capsys.readouterr().out) == (side != 32)


def test_pictures_are_turned_as_the_camera_was_held(tmp_path: Path) -> None:
    pixels = write_picture(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise to be upright
    Image.fromarray(pixels).save(tmp_path / "b.png", exif=exif)
    images = load_images(str(tmp_path))
    np.testing.assert_array_equal(pixels_of(images.test[0]), np.rot90(pixels, -1))


@pytest.mark.faults
def test_mixed_sizes_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    write_picture(tmp_path / "b.png", size=(40, 48))
    refusal(lambda: load_images(str(tmp_path)), tmp_path, "a.png is 32×32", "b.png is 40×48")


@pytest.mark.faults
def test_train_and_test_of_different_sizes_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "train" / "a.png")
    write_picture(tmp_path / "test" / "b.png", size=(64, 64))
    refusal(lambda: load_images(str(tmp_path)), tmp_path, "a.png is 32×32", "b.png is 64×64")


def animated(kind: str) -> bytes:
    return encoded(kind, save_all=True, append_images=[Image.fromarray(255 - PIXELS)])


def png_of_16_bits() -> bytes:
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in PIXELS.reshape(32, 96))

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def grey_png_of_16_bits() -> bytes:
    buffer = BytesIO()
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).save(buffer, "PNG")
    return buffer.getvalue()


OTHER_KINDS: dict[str, tuple[Callable[[], bytes], str]] = {
    "animated.gif": (lambda: animated("GIF"), "2 frames"),
    "animated.webp": (lambda: animated("WEBP"), "2 frames"),
    "animated.png": (lambda: animated("PNG"), "2 frames"),
    "pages.tif": (lambda: animated("TIFF"), "2 frames"),
    "grey.jpg": (lambda: encoded("JPEG", "L"), "mode L)"),
    "grey.png": (lambda: encoded("PNG", "L"), "mode L)"),
    "grey-alpha.png": (lambda: encoded("PNG", "LA"), "mode LA)"),
    "black-white.png": (lambda: encoded("PNG", "1"), "mode 1)"),
    "print.jpg": (lambda: encoded("JPEG", "CMYK"), "mode CMYK)"),
    "alpha.png": (lambda: encoded("PNG", "RGBA"), "mode RGBA)"),
    "alpha.webp": (lambda: encoded("WEBP", "RGBA"), "mode RGBA)"),
    "see-through.png": (lambda: encoded("PNG", transparency=(1, 2, 3)), "transparency"),
    "palette.png": (lambda: encoded("PNG", "P"), "mode P)"),
    "deep.png": (png_of_16_bits, "16 bits"),
    "deep-grey.png": (grey_png_of_16_bits, "mode I;16)"),
}


@pytest.mark.faults
@pytest.mark.parametrize("name", OTHER_KINDS)
def test_a_picture_that_is_not_plain_rgb_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, kind = OTHER_KINDS[name]
    (tmp_path / "0.png").write_bytes(encoded("PNG"))
    (tmp_path / name).write_bytes(content())
    refusal(lambda: load_images(str(tmp_path)), tmp_path / name, kind, "RGB")


def with_bytes(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


CORRUPT: dict[str, Callable[[], bytes]] = {
    "empty.png": lambda: b"",
    "garbage.png": lambda: b"this is no picture" * 50,
    "document.jpg": lambda: b"%PDF-1.7 and so on",
    "cut.png": lambda: encoded("PNG")[:500],
    "cut.jpg": lambda: encoded("JPEG")[:500],
    "cut.gif": lambda: encoded("GIF")[:300],
    "cut.bmp": lambda: encoded("BMP")[:60],
    "cut.webp": lambda: encoded("WEBP")[:60],
    "cut.tif": lambda: encoded("TIFF")[:60],
    "short-header.png": lambda: with_bytes(encoded("PNG"), 8, b"\0\0\0\x05"),
    "no-such-chunk.png": lambda: with_bytes(encoded("PNG"), 37, b"\x8d\x96\xc6\x1d"),
    "huge.bmp": lambda: with_bytes(encoded("BMP"), 18, b"\xff\xff\xff\0\xff\xff\xff\0"),
}


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_picture_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write_picture(tmp_path / "a.png")
    (tmp_path / name).write_bytes(CORRUPT[name]())
    refusal(lambda: load_images(str(tmp_path)), tmp_path / name, "cannot be read")


@pytest.mark.faults
def test_a_picture_that_is_gone_is_refused_by_name(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    refusal(lambda: load_images(str(tmp_path)), tmp_path / "b.png", "cannot be read")


@pytest.mark.faults
@examples(30)
@given(st.sampled_from(["PNG", "BMP", "JPEG", "WEBP", "GIF"]), st.data())
def test_any_damage_to_a_picture_is_read_or_refused_by_name(
    tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    content = bytearray(encoded(kind, pixels=FLAT))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(content[: data.draw(st.integers(0, len(content)))])
    images, refused = outcome(lambda: load_images(str(tmp_path)))
    if refused:
        assert str(tmp_path) in refused
    else:
        assert images.train.shape == (1, *IMAGE_SHAPE)
