"""Data sets: the photos, folders of pictures, CIFAR-10 where it is at hand."""

import pickle
import urllib.error
from collections.abc import Callable
from hashlib import md5
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from vqlib import Images, UserError, load_images
from vqlib.images import PHOTOS, resolve_dataset, scale


def rows(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images.permute(0, 2, 3, 1).contiguous()}


def pixels_of(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def write_picture(path: Path, seed: int = 0, size: tuple[int, int] = (32, 32), mode: str = "RGB"):
    """A picture of random pixels; returns them as (H, W, 3)."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return pixels


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# --- photos --------------------------------------------------------------------------------


def test_photos_are_always_the_same(photos: Images) -> None:
    total = md5()
    for split in (photos.train, photos.test):
        total.update(split.permute(0, 2, 3, 1).numpy().tobytes())
    assert total.hexdigest() == photos.digest == "3c0dbf7734b10d28c61afbbc0ec0156f"


def test_photos_layout(photos: Images) -> None:
    assert photos.train.shape == (12_000, 3, 32, 32)
    assert photos.test.shape == (2_000, 3, 32, 32)
    for split in (photos.train, photos.test):
        assert split.dtype == torch.uint8
        assert split.is_contiguous(memory_format=torch.channels_last)


def test_no_photograph_is_in_both_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each photograph is made one flat colour: a crop then tells which it is from."""
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


def test_photos_hold_no_crop_twice(photos: Images) -> None:
    train, test = rows(photos.train), rows(photos.test)
    assert not train & test
    assert len(train) > 0.99 * len(photos.train)  # some crops of black sky are alike
    assert len(test) > 0.99 * len(photos.test)


# --- any data set --------------------------------------------------------------------------


def test_limit_takes_the_first_images_of_each_split(picture_folder: Path) -> None:
    whole, limited = load_images(str(picture_folder)), load_images(str(picture_folder), limit=7)
    assert torch.equal(limited.train, whole.train[:7])
    assert torch.equal(limited.test, whole.test[:7])
    beyond = load_images(str(picture_folder), limit=10**6)
    assert torch.equal(beyond.train, whole.train)


def test_variance_is_that_of_the_training_pixels(photos: Images) -> None:
    some = Images("photos", photos.train[:2000], photos.test)
    expected = (some.train.numpy() / 255.0).var()
    assert some.variance == pytest.approx(expected, rel=1e-9)


def test_digest_tells_images_and_splits_apart(few_photos: Images) -> None:
    changed = few_photos.train.clone()
    changed[3, 1, 4, 1] ^= 1
    swapped = Images("photos", few_photos.train.flip(0), few_photos.test)
    digests = {
        few_photos.digest,
        Images("photos", changed, few_photos.test).digest,
        Images("photos", few_photos.train, few_photos.test.flip(0)).digest,
        swapped.digest,
    }
    assert len(digests) == 4
    assert Images("other name", few_photos.train, few_photos.test).digest == few_photos.digest


def test_scale_gives_float32_in_zero_to_one() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    scaled = scale(levels)
    assert scaled.dtype == torch.float32
    np.testing.assert_array_equal(scaled, np.arange(256, dtype=np.float32) / np.float32(255))
    assert levels[255] == 255  # the images themselves are left as they are


# --- folders -------------------------------------------------------------------------------


def test_folder_with_train_and_test(tmp_path: Path) -> None:
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


def test_folder_in_torchvision_s_layout_is_read_in_its_order(picture_folder: Path) -> None:
    from torchvision.datasets import ImageFolder

    expected = [np.asarray(picture) for picture, _ in ImageFolder(picture_folder / "train")]
    images = load_images(str(picture_folder))
    np.testing.assert_array_equal([pixels_of(image) for image in images.train], expected)


def test_flat_folder_is_split(tmp_path: Path) -> None:
    """Every tenth picture is for testing; none is lost, none is in both."""
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
def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown dataset") as refused:
        load_images(str(tmp_path / "nowhere"))
    message = one_line(refused)
    assert str(tmp_path / "nowhere") in message
    assert "cifar10, photos" in message


@pytest.mark.faults
@pytest.mark.parametrize("name", ["~nosuchuser/pictures", "x" * 300, "a\0b"])
def test_impossible_folder_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"dataset|cannot be read") as refused:
        load_images(name)
    one_line(refused)


@pytest.mark.faults
def test_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "one.png")
    with pytest.raises(UserError, match=r"one\.png"):
        load_images(str(tmp_path / "one.png"))


@pytest.mark.faults
def test_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(UserError, match="holds no pictures") as refused:
        load_images(str(tmp_path))
    assert str(tmp_path) in one_line(refused)


@pytest.mark.faults
def test_empty_split_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "train" / "a.png")
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match="holds no pictures") as refused:
        load_images(str(tmp_path))
    assert str(tmp_path / "test") in one_line(refused)


@pytest.mark.faults
def test_single_picture_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    with pytest.raises(UserError, match="one picture") as refused:
        load_images(str(tmp_path))
    assert str(tmp_path) in one_line(refused)


@pytest.mark.faults
def test_mixed_sizes_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    write_picture(tmp_path / "b.png", size=(40, 48))
    with pytest.raises(UserError, match=r"b\.png.*40×48") as refused:
        load_images(str(tmp_path))
    one_line(refused)


@pytest.mark.faults
def test_train_and_test_of_different_sizes_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "train" / "a.png")
    write_picture(tmp_path / "test" / "b.png", size=(64, 64))
    with pytest.raises(UserError, match=r"mixes sizes.*b\.png is 64×64") as refused:
        load_images(str(tmp_path))
    one_line(refused)


@pytest.mark.faults
@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA"])
def test_pictures_other_than_rgb_are_refused(tmp_path: Path, mode: str) -> None:
    write_picture(tmp_path / "a.png")
    write_picture(tmp_path / "b.png", mode=mode)
    with pytest.raises(UserError, match=rf"b\.png.* {mode}.*RGB") as refused:
        load_images(str(tmp_path))
    one_line(refused)


def encoded(kind: str) -> bytes:
    buffer = BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def with_bytes(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


CORRUPT: dict[str, Callable[[], bytes]] = {
    "empty.png": lambda: b"",
    "garbage.png": lambda: b"this is no picture" * 50,
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
def test_corrupt_picture_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write_picture(tmp_path / "a.png")
    (tmp_path / name).write_bytes(CORRUPT[name]())
    with pytest.raises(UserError, match="cannot be read") as refused:
        load_images(str(tmp_path))
    assert str(tmp_path / name) in one_line(refused)


@pytest.mark.faults
def test_unreadable_picture_is_refused_by_name(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match="cannot be read") as refused:
        load_images(str(tmp_path))
    assert str(tmp_path / "b.png") in one_line(refused)


def test_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    for number in range(2):
        write_picture(tmp_path / f"{number}.png", number)
    for hidden in (".0.png", ".cache/1.png"):
        (tmp_path / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / hidden).write_bytes(b"another program's")
    images = load_images(str(tmp_path))
    assert len(images.train) + len(images.test) == 2


def test_pictures_are_turned_as_the_camera_was_held(tmp_path: Path) -> None:
    pixels = write_picture(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise to be upright
    Image.fromarray(pixels).save(tmp_path / "b.png", exif=exif)
    images = load_images(str(tmp_path))
    np.testing.assert_array_equal(pixels_of(images.test[0]), np.rot90(pixels, -1))


def test_folder_named_like_a_picture_is_no_picture(tmp_path: Path) -> None:
    """A class folder may end in .png; what is in it counts, it itself is not read."""
    for number in range(2):
        write_picture(tmp_path / "icons.png" / f"{number}.png", number)
    images = load_images(str(tmp_path))
    assert len(images.train) + len(images.test) == 2


# --- CIFAR-10 ------------------------------------------------------------------------------


def test_cifar10_is_that_of_its_files(cifar10_root: Path) -> None:
    folder = cifar10_root / "cifar-10-batches-py"
    images = load_images("cifar10")

    def raw(name: str) -> np.ndarray:
        with (folder / name).open("rb") as file:
            return pickle.load(file, encoding="bytes")[b"data"]

    train = np.concatenate([raw(f"data_batch_{n}") for n in range(1, 6)])
    assert np.array_equal(images.train, train.reshape(50_000, 3, 32, 32))
    assert np.array_equal(images.test, raw("test_batch").reshape(10_000, 3, 32, 32))
    assert images.train.is_contiguous(memory_format=torch.channels_last)
    assert images.variance == pytest.approx(0.06329, abs=5e-6)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["test_batch", "data_batch_3"])
@pytest.mark.parametrize("damage", ["flipped bit", "missing"])
def test_damaged_cifar10_is_refused(
    cifar10_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    damage: str,
) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for path in (cifar10_root / folder.name).iterdir():
        if path.name != name:
            (folder / path.name).symlink_to(path)
        elif damage == "flipped bit":
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            (folder / name).write_bytes(content)
    monkeypatch.setenv("VQLIB_DATA", str(tmp_path))
    for load in (load_images, resolve_dataset):
        with pytest.raises(UserError, match="damaged or incomplete") as refused:
            load("cifar10" if load is load_images else "auto")
        message = one_line(refused)
        assert str(folder) in message
        said = "is missing" if damage == "missing" else "has another md5 than"
        assert f"{name} {said}" in message


@pytest.mark.faults
def test_a_data_folder_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not made, and not passed over in favour of other images: it may be a slip."""
    folder = tmp_path / "nowhere"
    monkeypatch.setenv("VQLIB_DATA", str(folder))
    for load in (load_images, resolve_dataset):
        with pytest.raises(UserError, match="which is no folder") as refused:
            load("cifar10" if load is load_images else "auto")
        assert f"VQLIB_DATA is '{folder}'" in one_line(refused)
    assert not folder.exists()


@pytest.fixture
def no_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and a download that fails; returns the folder."""
    from torchvision.datasets import CIFAR10

    def fail(_self: CIFAR10) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(CIFAR10, "download", fail)
    monkeypatch.setenv("VQLIB_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.faults
def test_missing_cifar10_says_what_to_do(no_cifar10: Path) -> None:
    with pytest.raises(UserError, match="Name or service not known") as refused:
        load_images("cifar10")
    message = one_line(refused)
    assert str(no_cifar10) in message
    assert "VQLIB_DATA" in message


def test_auto_falls_back_to_photos_and_says_so_once(no_cifar10: Path) -> None:
    said: list[str] = []
    assert resolve_dataset("auto", said.append) == "photos"
    assert len(said) == 1
    assert "photos" in said[0]
    assert str(no_cifar10) in said[0]


def test_auto_falls_back_where_the_data_folder_cannot_be_made(
    no_cifar10: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    def fail(_self: CIFAR10) -> None:
        raise PermissionError(13, "Permission denied", str(no_cifar10))

    monkeypatch.setattr(CIFAR10, "download", fail)
    said: list[str] = []
    assert resolve_dataset("auto", said.append) == "photos"
    assert "Permission denied" in said[0]


def test_auto_is_cifar10_where_it_is_at_hand(cifar10_root: Path) -> None:
    said: list[str] = []
    assert resolve_dataset("auto", said.append) == "cifar10"
    assert said == []


@pytest.mark.parametrize("dataset", ["cifar10", "photos", "some/folder"])
def test_other_data_sets_are_taken_as_they_are(no_cifar10: Path, dataset: str) -> None:
    assert resolve_dataset(dataset) == dataset
