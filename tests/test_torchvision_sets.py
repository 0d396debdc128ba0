"""torchvision's data sets by the names of their classes, from files made for the tests."""

import gzip
import hashlib
import pickle
import struct
import tarfile
import urllib.error
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from conftest import SMALL, refusal
from PIL import Image
from scipy.io import savemat

from vqlib import load_images, load_run
from vqlib.cli import main
from vqlib.system.torchvision_sets import is_torchvision, torchvision_name


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of data sets."""
    monkeypatch.setenv("VQLIB_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def idx(values: np.ndarray) -> bytes:
    """Return the file format of MNIST and the data sets made like it."""
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return head + values.tobytes()


def fashion(start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(start)
    pixels = generator.integers(0, 256, (count, 28, 28), np.uint8)
    return pixels, (np.arange(count) % 10).astype(np.uint8)


def write_fashion_mnist(folder: Path, packed: bool = False) -> None:
    folder.mkdir(parents=True)
    for name, (pixels, labels) in {"train": fashion(0, 30), "t10k": fashion(1, 12)}.items():
        for kind, values in (("images-idx3", pixels), ("labels-idx1", labels)):
            content = idx(values)
            path = folder / f"{name}-{kind}-ubyte"
            if packed:
                path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content, mtime=0))
            else:
                path.write_bytes(content)


def write_svhn(data: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    parts, pixels = {}, {}
    for seed, (name, count) in enumerate({"train": 20, "test": 10}.items()):
        pixels[name] = np.random.default_rng(seed).integers(0, 256, (32, 32, 3, count), np.uint8)
        path = data / f"{name}_32x32.mat"
        savemat(path, {"X": pixels[name], "y": np.arange(1, count + 1)[:, None] % 10})
        parts[name] = ["url", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", parts)
    return pixels


def test_grey_images_become_rgb_and_are_resized(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fashion_mnist(data / "FashionMNIST" / "raw")
    images = load_images("FashionMNIST", image_size=16)
    assert images.train.shape == (30, 3, 16, 16)
    assert images.test.shape == (12, 3, 16, 16)
    for fact in ("42 pictures of 28×28", "42 in grey", "16×16", "Its own training and test"):
        assert fact in images.about
    assert images.about in capsys.readouterr().out
    small = Image.fromarray(fashion(0, 30)[0][4]).resize((16, 16), Image.Resampling.BOX)
    for channel in images.train[4]:
        np.testing.assert_allclose(channel, np.asarray(small), atol=1)
    assert images.labels is not None
    assert images.labels.tolist() == [n % 10 for n in range(30)]
    assert images.classes == tuple(torchvision.datasets.FashionMNIST.classes)


def test_packed_files_are_unpacked_without_a_network(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data / "FashionMNIST" / "raw"
    write_fashion_mnist(folder, packed=True)
    sums = [(p.name, hashlib.md5(p.read_bytes()).hexdigest()) for p in sorted(folder.iterdir())]
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "resources", sums)
    images = load_images("FashionMNIST", limit=7)
    assert (len(images.train), len(images.test)) == (7, 7)
    assert (folder / "train-images-idx3-ubyte").is_file()
    assert not (data / ".download").exists()


def test_data_sets_with_named_parts_are_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = write_svhn(data, monkeypatch)
    images = load_images("SVHN")
    for name, part in (("train", images.train), ("test", images.test)):
        np.testing.assert_array_equal(part.permute(2, 3, 1, 0), pixels[name])
    assert images.labels is not None
    assert images.labels.tolist() == [n % 10 for n in range(1, 21)]
    assert images.classes == tuple(map(str, range(10)))


def test_cifar100_is_read_from_its_archive(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = torchvision.datasets.CIFAR100
    generator = np.random.default_rng(0)
    with tarfile.open(data / made.filename, "w:gz") as archive:
        for name, count in (("train", 12), ("test", 5), ("meta", 0)):
            values = generator.integers(0, 256, (count, 3072), np.uint8)
            content = {"data": values, "fine_labels": [n % 3 for n in range(count)]}
            if name == "meta":
                content = {"fine_label_names": ["ant", "bee", "cow"]}
            packed = pickle.dumps(content)
            info = tarfile.TarInfo(f"{made.base_folder}/{name}")
            info.size = len(packed)
            archive.addfile(info, BytesIO(packed))
            md5 = hashlib.md5(packed).hexdigest()
            if name == "meta":
                monkeypatch.setattr(made, "meta", {**made.meta, "md5": md5})
            else:
                monkeypatch.setattr(made, f"{name}_list", [[name, md5]])
    monkeypatch.setattr(
        made, "tgz_md5", hashlib.md5((data / made.filename).read_bytes()).hexdigest()
    )
    images = load_images("CIFAR100")
    assert (len(images.train), len(images.test)) == (12, 5)
    assert images.classes == ("ant", "bee", "cow")
    assert images.test_labels is not None
    assert images.test_labels.tolist() == [0, 1, 2, 0, 1]


class FakeData(torchvision.datasets.FakeData):
    """torchvision's random pictures, few and small."""

    def __init__(self) -> None:
        super().__init__(size=25, image_size=(3, 40, 48), num_classes=4)


def test_a_data_set_without_a_split_has_every_tenth_picture_for_testing(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets, "FakeData", FakeData)
    images = load_images("FakeData")
    assert (len(images.train), len(images.test)) == (22, 3)
    assert "Every tenth" in images.about
    assert "40×48" not in images.about  # width comes first
    everything = [label for _, label in FakeData()]
    assert images.test_labels is not None
    assert images.test_labels.tolist() == everything[1::10]


def test_a_data_set_of_torchvision_is_trained_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_svhn(data, monkeypatch)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL["vqvae"].items()]
    main(["train", "vqvae", "--dataset=SVHN", "--epochs=1", *options, f"--results={tmp_path}"])
    run = load_run(tmp_path / f"vqvae-svhn-b64-e1-s0-{_suffix()}")
    assert run.environment["dataset"] == "SVHN"


def _suffix() -> str:
    return "-".join(f"{name}{value}" for name, value in SMALL["vqvae"].items())


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        *(("STL10", "STL10"), ("stl10", "STL10"), ("Kmnist", "KMNIST"), ("Places365", "Places365")),
        *(("ImageFolder", None), ("VisionDataset", None), ("pictures", None), ("a/SVHN", None)),
        *(("", None), ("wrap_dataset_for_transforms_v2", None)),
    ],
)
def test_names_are_those_of_torchvision_s_classes(asked: str, name: str | None) -> None:
    assert torchvision_name(asked) == name
    assert is_torchvision(asked) == (asked == name)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("FashionMNIST", "FashionMNIST/raw/train-images-idx3-ubyte.gz"),
        ("CIFAR100", "cifar-100-python.tar.gz"),
        ("SVHN", "train_32x32.mat"),
        ("STL10", "stl10_binary"),
    ],
)
def test_without_a_network_a_missing_data_set_says_where_its_files_go(
    data: Path, name: str, files: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets.utils as utils

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(utils, "_urlretrieve", refuse)
    refusal(lambda: load_images(name), name, data, files, "could not be downloaded", "no network")


@pytest.mark.faults
@pytest.mark.parametrize(
    "name", ["VOCDetection", "EMNIST", "Kinetics", "CocoDetection", "KittiFlow"]
)
def test_a_data_set_of_something_else_is_refused(data: Path, name: str) -> None:
    refusal(lambda: load_images(name), name)


@pytest.mark.faults
def test_a_name_in_other_capitals_is_refused_with_its_own(data: Path) -> None:
    refusal(lambda: load_images("stl10"), "unknown dataset 'stl10'", "torchvision has STL10")


@pytest.mark.faults
def test_items_that_are_no_pictures_are_refused(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Numbers(FakeData):
        def __getitem__(self, index: int) -> tuple:
            return (index, "label")

    monkeypatch.setattr(torchvision.datasets, "FakeData", Numbers)
    refusal(lambda: load_images("FakeData"), "item 0 of FakeData", "is not a picture")
